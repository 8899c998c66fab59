/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * One value's text becomes the field that its key describes. The parsers of numbers work on text
 * alone, refuse what would overflow, and take nothing after the value. value_set() adds the key's
 * bounds and choices, and says in plain words what is wrong. It changes the field only on success.
 */
#include "config/config_int.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config/broker_url.h"
#include "config/forward.h"
#include "config/ticket.h"

/* A number with a scale, as in "1.5" times 1024: integer arithmetic, three decimals. Advances
 * *text. */
static int scaled_parse(const char **text, uint64_t *milli)
{
    const char *p = *text;
    uint64_t n = 0;
    int decimals = 0;

    if (!isdigit((unsigned char)*p))
        return -EINVAL;
    for (; isdigit((unsigned char)*p); p++)
        if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *p - '0', &n))
            return -EINVAL;
    if (*p == '.' && isdigit((unsigned char)p[1])) {
        for (p++; isdigit((unsigned char)*p); p++) {
            if (decimals == 3)
                return -EINVAL;
            decimals++;
            if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *p - '0', &n))
                return -EINVAL;
        }
    }
    for (; decimals < 3; decimals++)
        if (__builtin_mul_overflow(n, 10, &n))
            return -EINVAL;
    *text = p;
    *milli = n;
    return 0;
}

/* milli * unit / 1000 */
static int scale(uint64_t milli, uint64_t unit, uint64_t *value)
{
    unsigned __int128 product = (unsigned __int128)milli * unit / 1000;

    if (product > UINT64_MAX)
        return -EINVAL;
    *value = (uint64_t)product;
    return 0;
}

int value_parse_bool(const char *text, bool *value)
{
    static const char *const yes[] = {"yes", "true", "on", "1"};
    static const char *const no[] = {"no", "false", "off", "0"};

    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
            *value = strcasecmp(text, yes[i]) == 0;
            return 0;
        }
    }
    return -EINVAL;
}

int value_parse_number(const char *text, uint64_t *value)
{
    uint64_t n = 0;

    if (*text == '\0')
        return -EINVAL;
    for (; *text != '\0'; text++)
        if (!isdigit((unsigned char)*text) || __builtin_mul_overflow(n, 10, &n) ||
            __builtin_add_overflow(n, *text - '0', &n))
            return -EINVAL;
    *value = n;
    return 0;
}

struct unit {
    const char *name;
    uint64_t factor;
};

/* The unit at *text, up to what is no letter. NULL: none of these. */
static const struct unit *unit_parse(const char **text, const struct unit *units, bool fold)
{
    size_t len = 0;

    while (isalpha((unsigned char)(*text)[len]))
        len++;
    for (; units->name != NULL; units++) {
        if (strlen(units->name) == len &&
            (fold ? strncasecmp(units->name, *text, len) : strncmp(units->name, *text, len)) == 0) {
            *text += len;
            return units;
        }
    }
    return NULL;
}

int value_parse_duration(const char *text, uint64_t *us)
{
    static const struct unit units[] = {
        {"us", 1},
        {"ms", 1000},
        {"s", 1000000},
        {"m", UINT64_C(60000000)},
        {"min", UINT64_C(60000000)},
        {"h", UINT64_C(3600000000)},
        {"d", UINT64_C(86400000000)},
        {NULL, 0},
    };
    uint64_t sum = 0, milli, part, last = UINT64_MAX;

    if (strcmp(text, "0") == 0) {
        *us = 0;
        return 0;
    }
    do {
        const struct unit *unit;
        if (scaled_parse(&text, &milli) != 0 || (unit = unit_parse(&text, units, false)) == NULL)
            return -EINVAL;
        /* "1h30m", not "30m1h" or "1h1h" */
        if (unit->factor >= last || scale(milli, unit->factor, &part) != 0 ||
            __builtin_add_overflow(sum, part, &sum))
            return -EINVAL;
        last = unit->factor;
    } while (*text != '\0');
    *us = sum;
    return 0;
}

int value_parse_size(const char *text, uint64_t *bytes)
{
#define BINARY(letter, factor)              \
    {letter, factor}, {letter "B", factor}, \
    {                                       \
        letter "iB", factor                 \
    }
    static const struct unit units[] = {
        {"", 1},
        {"B", 1},
        BINARY("K", UINT64_C(1) << 10),
        BINARY("M", UINT64_C(1) << 20),
        BINARY("G", UINT64_C(1) << 30),
        BINARY("T", UINT64_C(1) << 40),
        {NULL, 0},
    };
    const struct unit *unit;
    uint64_t milli;

    if (scaled_parse(&text, &milli) != 0 || (unit = unit_parse(&text, units, true)) == NULL ||
        *text != '\0')
        return -EINVAL;
    return scale(milli, unit->factor, bytes);
}

int value_parse_rate(const char *text, uint64_t *bytes)
{
    /* In thousandths of a bit a second, so that 1bit is no fraction. */
    static const struct unit bits[] = {
        {"bit", 1}, {"kbit", 1000}, {"mbit", 1000000}, {"gbit", UINT64_C(1000000000)},
        {"B", 8},   {"kB", 8000},   {"MB", 8000000},   {"GB", UINT64_C(8000000000)},
        {NULL, 0},
    };
    const struct unit *unit;
    uint64_t milli, n;

    if (strcmp(text, "none") == 0 || strcmp(text, "0") == 0) {
        *bytes = 0;
        return 0;
    }
    if (scaled_parse(&text, &milli) != 0)
        return -EINVAL;
    if ((unit = unit_parse(&text, bits, false)) == NULL &&
        (unit = unit_parse(&text, bits, true)) == NULL)
        return -EINVAL;
    if ((*text != '\0' && strcmp(text, "/s") != 0) || scale(milli, unit->factor, &n) != 0 || n < 8)
        return -EINVAL; /* less than a byte a second is a mistake; "none" means no limit */
    *bytes = n / 8;
    return 0;
}

int value_parse_route(const char *text, struct rule *rule, const char **exit)
{
    char left[RULE_TEXT_MAX];
    const char *arrow = strstr(text, "->");
    struct node_id id;

    if (arrow == NULL)
        return -EINVAL;
    size_t len = (size_t)(arrow - text);
    while (len > 0 && isspace((unsigned char)text[len - 1]))
        len--;
    if (len >= sizeof left)
        return -EINVAL;
    memcpy(left, text, len);
    left[len] = '\0';
    *exit = arrow + 2 + strspn(arrow + 2, " \t");
    if (!config_is_peer_name(*exit) && node_id_parse(*exit, &id) != 0)
        return -EINVAL;
    return rule_parse(left, rule);
}

/* --- value_set --- */

__attribute__((format(printf, 2, 3))) static int refuse(char *why, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(why, CONFIG_WHY_MAX, format, args);
    va_end(args);
    return ADIT_EFORMAT;
}

/* All lists have this shape. */
struct __attribute__((may_alias)) list {
    void *items;
    size_t count;
};

_Static_assert(sizeof(struct list) == sizeof(struct config_strings), "lists have one shape");
_Static_assert(offsetof(struct config_rules, count) == offsetof(struct list, count), "likewise");

static int list_add(struct list *list, const void *item, size_t size, char *why)
{
    if (list->count == CONFIG_LIST_MAX)
        return refuse(why, "more than %d values for this key", CONFIG_LIST_MAX);
    void *items = reallocarray(list->items, list->count + 1, size);
    if (items == NULL)
        return -ENOMEM;
    memcpy((char *)items + list->count * size, item, size);
    list->items = items;
    list->count++;
    return 0;
}

/* Takes the string, also when it fails. */
static int list_add_string(struct list *list, char *string, char *why)
{
    int rc = string == NULL ? -ENOMEM : list_add(list, &string, sizeof string, why);

    if (rc != 0)
        free(string);
    return rc;
}

static int set_string(const char *text, char **field)
{
    char *copy = strdup(text);

    if (copy == NULL)
        return -ENOMEM;
    free(*field);
    *field = copy;
    return 0;
}

static int choice_find(const struct config_key *key, const char *text, size_t len)
{
    for (int i = 0; key->choices[i] != NULL; i++)
        if (strlen(key->choices[i]) == len && strncasecmp(key->choices[i], text, len) == 0)
            return i;
    return -1;
}

static int refuse_choice(const struct config_key *key, const char *text, char *why)
{
    char list[CONFIG_WHY_MAX / 2] = "";

    for (size_t i = 0, len = 0; key->choices[i] != NULL && len < sizeof list; i++)
        len += (size_t)snprintf(list + len, sizeof list - len, "%s%s", i > 0 ? ", " : "",
                                key->choices[i]);
    return refuse(why, "'%.60s' is none of: %s", text, list);
}

/* The next word of a comma-separated list; NULL at its end. Empty words are skipped. */
static const char *word_next(const char **text, size_t *len)
{
    const char *p = *text + strspn(*text, ", \t");

    *len = strcspn(p, ",");
    *text = p + *len;
    while (*len > 0 && isspace((unsigned char)p[*len - 1]))
        --*len;
    return *p != '\0' ? p : NULL;
}

static int set_strategies(const struct config_key *key, const char *text,
                          struct config_strategies *field, char *why)
{
    struct config_strategies out = {.count = 0};
    const char *rest = text, *word;
    size_t len;

    while ((word = word_next(&rest, &len)) != NULL) {
        int choice = choice_find(key, word, len);
        if (choice < 0)
            return refuse_choice(key, text, why);
        for (size_t i = 0; i < out.count; i++)
            if (out.order[i] == choice)
                return refuse(why, "'%s' is named twice", key->choices[choice]);
        out.order[out.count++] = (uint8_t)choice;
    }
    if (out.count == 0)
        return refuse_choice(key, text, why);
    *field = out;
    return 0;
}

static int set_words(const char *text, struct list *list, char *why)
{
    const char *word;
    size_t len;
    int rc = 0;

    while (rc == 0 && (word = word_next(&text, &len)) != NULL) {
        if (strcspn(word, " \t;") < len)
            return refuse(why, "'%.*s' is more than one name; put commas between them",
                          len < 60 ? (int)len : 60, word);
        rc = list_add_string(list, strndup(word, len), why);
    }
    return rc;
}

static int set_number(const struct config_key *key, const char *text, uint64_t n, uint64_t *field,
                      char *why)
{
    if (key->max != 0 && (n < key->min || n > key->max))
        return refuse(why, "%.60s is too %s", text, n < key->min ? "small" : "large");
    *field = n;
    return 0;
}

static int set_int(const struct config_key *key, const char *text, uint32_t *field, char *why)
{
    uint64_t n;

    if (value_parse_number(text, &n) != 0)
        return refuse(why, "'%.60s' is not a number", text);
    if (n < key->min || n > key->max)
        return refuse(why, "%.60s is not between %llu and %llu", text, (unsigned long long)key->min,
                      (unsigned long long)key->max);
    *field = (uint32_t)n;
    return 0;
}

static int set_listen(const char *text, struct list *list, char *why)
{
    struct config_listen listen = {.path = NULL};

    if (strncmp(text, "unix:", 5) == 0) {
        if (text[5] == '\0' || strlen(text + 5) > 107)
            return refuse(why, "a unix socket's path has 1 to 107 characters");
        listen.path = strdup(text + 5);
        if (listen.path == NULL)
            return -ENOMEM;
    } else if (addr_parse(text, &listen.addr) != 0) {
        return refuse(why,
                      "'%.60s' is no address to listen on; write IP:PORT, [IPV6]:PORT or unix:PATH",
                      text);
    }
    int rc = list_add(list, &listen, sizeof listen, why);
    if (rc != 0)
        free(listen.path);
    return rc;
}

static int set_addr(const struct config_key *key, const char *text, struct list *list, char *why)
{
    struct addr addr;

    if (key->type == CONFIG_RESOLVERS && addr_parse_ip(text, &addr) == 0)
        addr.port = 53;
    else if (addr_parse(text, &addr) != 0)
        return refuse(why, "'%.60s' is no address; write IP:PORT or [IPV6]:PORT", text);
    return list_add(list, &addr, sizeof addr, why);
}

static int set_url(const struct config_key *key, const char *text, struct list *list, char *why)
{
    for (size_t i = 0; key->choices[i] != NULL; i++) {
        size_t len = strlen(key->choices[i]);
        if (strncasecmp(text, key->choices[i], len) == 0 && text[len] != '\0' &&
            strpbrk(text, " \t") == NULL)
            return list_add_string(list, strdup(text), why);
    }
    return refuse_choice(key, text, why);
}

/* A text may hold a password: no part of it is repeated. */
static int set_broker(const char *text, struct list *list, char *why)
{
    struct broker_url url;
    const char *wrong;
    int rc = broker_url_parse((const uint8_t *)text, strlen(text), &url, &wrong);

    explicit_bzero(&url, sizeof url);
    if (rc != 0)
        return refuse(why, "the URL is wrong: %s", wrong);
    return list_add_string(list, strdup(text), why);
}

static int set_rule(const char *text, struct list *list, char *why)
{
    struct rule rule;

    if (rule_parse(text, &rule) != 0)
        return refuse(why,
                      "'%.60s' is no rule; write IP/PREFIX, NAME or *, with or without :PORT "
                      "(no bits set beyond the prefix)",
                      text);
    return list_add(list, &rule, sizeof rule, why);
}

static int set_route(const char *text, struct list *list, char *why)
{
    struct config_route route;
    const char *exit;

    if (value_parse_route(text, &route.rule, &exit) != 0)
        return refuse(why, "'%.60s' is no route; write RULE -> PEER, direct or block", text);
    route.exit = strdup(exit);
    if (route.exit == NULL)
        return -ENOMEM;
    int rc = list_add(list, &route, sizeof route, why);
    if (rc != 0)
        free(route.exit);
    return rc;
}

static int set_forward(const char *text, bool is_reverse, struct list *list, char *why)
{
    struct config_forward forward;
    int rc = config_forward_parse(&forward, is_reverse, text, why);

    if (rc == 0)
        rc = list_add(list, &forward, sizeof forward, why);
    if (rc != 0)
        config_forward_clear(&forward);
    return rc;
}

static int set_ticket(const char *text, char **field, char *why)
{
    struct ticket ticket;
    enum ticket_result result = ticket_parse(text, strlen(text), &ticket);

    memset(&ticket, 0, sizeof ticket);
    if (result != TICKET_OK)
        return refuse(why, "%s", ticket_result_text(result));
    return set_string(text, field);
}

int value_set(const struct config_key *key, const char *text, void *field, char *why)
{
    struct target target;
    struct addr addr;
    uint8_t prefix;
    uint64_t n;
    int choice;

    switch (key->type) {
    case CONFIG_BOOL:
        if (value_parse_bool(text, field) != 0)
            return refuse(why, "'%.60s' is neither yes nor no", text);
        return 0;
    case CONFIG_INT:
        return set_int(key, text, field, why);
    case CONFIG_DURATION:
        if (value_parse_duration(text, &n) != 0)
            return refuse(why, "'%.60s' is no duration; write 500ms, 90s, 2m, 1h30m or 1d", text);
        return set_number(key, text, n, field, why);
    case CONFIG_SIZE:
        if (value_parse_size(text, &n) != 0)
            return refuse(why, "'%.60s' is no size; write 65536, 512K, 256M or 1.5G", text);
        return set_number(key, text, n, field, why);
    case CONFIG_RATE:
        if (value_parse_rate(text, &n) != 0)
            return refuse(why, "'%.60s' is no rate; write 100mbit, 2.5gbit, 12MB or none", text);
        return set_number(key, text, n, field, why);
    case CONFIG_STRING:
    case CONFIG_FILE:
        return set_string(text, field);
    case CONFIG_ENUM:
        if ((choice = choice_find(key, text, strlen(text))) < 0)
            return refuse_choice(key, text, why);
        *(int *)field = choice;
        return 0;
    case CONFIG_STRATEGY:
        return set_strategies(key, text, field, why);
    case CONFIG_NODE_ID:
        if (node_id_parse(text, field) != 0)
            return refuse(why, "'%.60s' is no node ID; `adit key` shows a node's", text);
        return 0;
    case CONFIG_TICKET:
        return set_ticket(text, field, why);
    case CONFIG_ADDRS:
    case CONFIG_RESOLVERS:
        return set_addr(key, text, field, why);
    case CONFIG_LISTENS:
        return set_listen(text, field, why);
    case CONFIG_TARGETS:
        if (target_parse(text, &target) != 0)
            return refuse(why, "'%.60s' is not HOST:PORT", text);
        return list_add_string(field, strdup(text), why);
    case CONFIG_URLS:
        return set_url(key, text, field, why);
    case CONFIG_BROKERS:
        return set_broker(text, field, why);
    case CONFIG_WORDS:
        return set_words(text, field, why);
    case CONFIG_NETS:
        if (rule_parse_net(text, &addr, &prefix) != 0)
            return refuse(why, "'%.60s' is not IP/PREFIX", text);
        return list_add_string(field, strdup(text), why);
    case CONFIG_RULES:
        return set_rule(text, field, why);
    case CONFIG_ROUTES:
        return set_route(text, field, why);
    case CONFIG_FORWARDS:
    case CONFIG_REVERSES:
        return set_forward(text, key->type == CONFIG_REVERSES, field, why);
    }
    return ADIT_EFORMAT;
}

static void list_clear(struct list *list)
{
    free(list->items);
    *list = (struct list){0};
}

static void strings_clear(struct config_strings *strings)
{
    for (size_t i = 0; i < strings->count; i++)
        free(strings->items[i]);
    list_clear((struct list *)strings);
}

static void listens_clear(struct config_listens *listens)
{
    for (size_t i = 0; i < listens->count; i++)
        free(listens->items[i].path);
    list_clear((struct list *)listens);
}

static void routes_clear(struct config_routes *routes)
{
    for (size_t i = 0; i < routes->count; i++)
        free(routes->items[i].exit);
    list_clear((struct list *)routes);
}

static void forwards_clear(struct config_forwards *forwards)
{
    for (size_t i = 0; i < forwards->count; i++)
        config_forward_clear(&forwards->items[i]);
    list_clear((struct list *)forwards);
}

void value_clear(const struct config_key *key, void *field)
{
    switch (key->type) {
    case CONFIG_BOOL:
    case CONFIG_INT:
    case CONFIG_DURATION:
    case CONFIG_SIZE:
    case CONFIG_RATE:
    case CONFIG_ENUM:
    case CONFIG_NODE_ID:
        break;
    case CONFIG_STRATEGY:
        *(struct config_strategies *)field = (struct config_strategies){.count = 0};
        break;
    case CONFIG_STRING:
    case CONFIG_FILE:
    case CONFIG_TICKET:
        free(*(char **)field);
        *(char **)field = NULL;
        break;
    case CONFIG_ADDRS:
    case CONFIG_RESOLVERS:
    case CONFIG_RULES:
        list_clear(field);
        break;
    case CONFIG_LISTENS:
        listens_clear(field);
        break;
    case CONFIG_TARGETS:
    case CONFIG_URLS:
    case CONFIG_BROKERS:
    case CONFIG_WORDS:
    case CONFIG_NETS:
        strings_clear(field);
        break;
    case CONFIG_ROUTES:
        routes_clear(field);
        break;
    case CONFIG_FORWARDS:
    case CONFIG_REVERSES:
        forwards_clear(field);
        break;
    }
}

size_t value_distance(const char *a, const char *b)
{
    size_t row[32], la = strnlen(a, 30), lb = strnlen(b, 30);

    for (size_t j = 0; j <= lb; j++)
        row[j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[lb];
}

char *value_trim(char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    size_t len = strlen(text);
    while (len > 0 && isspace((unsigned char)text[len - 1]))
        text[--len] = '\0';
    return text;
}

void value_cut_comment(char *text)
{
    for (char *p = text; *p != '\0'; p++) {
        if ((*p == '#' || *p == ';') && (p == text || isspace((unsigned char)p[-1]))) {
            *p = '\0';
            return;
        }
    }
}

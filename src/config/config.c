/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Values come from three sources, each stronger than the one before: the table's defaults, the
 * file, the command line. For every key the parser remembers the strongest source so far (struct
 * origin). A stronger one replaces, also a whole list; one as strong adds to a list, overrides
 * (command line) or is an error (a file that sets a key twice); a weaker one is checked and
 * dropped. So the order of calls does not matter.
 *
 * inih splits lines into names and values. It reads through line_read(), which gives it lines that
 * it cannot misread: without leading blanks (an indented key is no continuation of the line before)
 * and without comments; a line longer than inih's own buffer arrives without its value, which the
 * handler then takes from the reader. inih neither tells line numbers nor more than the first bad
 * line, nor empty sections, so the reader also counts, checks each line's form, and keeps the
 * section.
 *
 * Nothing stops at an error: all are collected (CONFIG_ERRORS_MAX of them in full), for the user to
 * repair in one go. A configuration with errors is not to be used. Errors name keys, never values
 * of tickets.
 */
#include "config/config.h"

#include <ctype.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "config/broker_url.h"
#include "config/config_int.h"
#include "config/messages.h"
#include "config/ticket.h"

/* inih's buffer has 200 bytes by default; a name takes less than half. */
#define INI_LINE_BYTES 190
#define INI_NAME_BYTES 80

enum source { SOURCE_DEFAULT, SOURCE_FILE, SOURCE_OPTION };

struct origin {
    enum source source;
    int line;
};

struct config_parser {
    struct config *config;
    bool *present;               /* at a section's first key: it has been seen */
    struct origin *origins;      /* one a key */
    struct origin *peer_origins; /* peers x keys */
    struct origin *turn_origins; /* named turns x keys */
    struct messages errors, notes;
    /* while reading a file */
    const char *file;
    const char *next, *end;
    int line;
    char *buf;         /* CONFIG_LINE_MAX_BYTES + 1 */
    const char *value; /* the line's, when it was too long for inih; else NULL */
    char *section;     /* NULL: none yet, or an unknown one */
    bool section_wrong;
};

/* --- Messages --- */

__attribute__((format(printf, 4, 5))) static int error_add(struct config_parser *parser,
                                                           const char *where, int line,
                                                           const char *format, ...)
{
    va_list args;

    va_start(args, format);
    messages_add(&parser->errors, where, line, format, args);
    va_end(args);
    return ADIT_EFORMAT;
}

__attribute__((format(printf, 4, 5))) static void note_add(struct config_parser *parser,
                                                           const char *where, int line,
                                                           const char *format, ...)
{
    va_list args;

    va_start(args, format);
    messages_add(&parser->notes, where, line, format, args);
    va_end(args);
}

size_t config_error_count(const struct config *config)
{
    return config->parser->errors.count;
}

const char *config_error(const struct config *config, size_t index)
{
    const struct messages *errors = &config->parser->errors;
    return index < errors->kept ? errors->items[index] : NULL;
}

const char *config_note(const struct config *config, size_t index)
{
    const struct messages *notes = &config->parser->notes;
    return index < notes->kept ? notes->items[index] : NULL;
}

/* --- Sections and keys --- */

bool config_is_peer_name(const char *name)
{
    size_t len = strlen(name);

    if (len == 0 || len > CONFIG_PEER_NAME_MAX || name[0] == '-' || name[0] == '.')
        return false;
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)name[i]) && strchr("-_.", name[i]) == NULL)
            return false;
    return true;
}

/* The name in [peer NAME] or [turn NAME]; NULL: another section. */
static const char *section_name(const char *section)
{
    bool has_name = (strncmp(section, "peer", 4) == 0 || strncmp(section, "turn", 4) == 0) &&
                    (section[4] == ' ' || section[4] == '\t');

    return has_name ? section + 5 + strspn(section + 5, " \t") : NULL;
}

static const char *section_kind(const char *section)
{
    if (section_name(section) == NULL)
        return section;
    return section[0] == 'p' ? "peer" : "turn";
}

/* Place of a section's first key; -1: there is no such section. */
static int section_first(const char *kind)
{
    size_t count;
    const struct config_key *keys = config_keys(&count);

    for (size_t i = 0; i < count; i++)
        if (strcmp(keys[i].section, kind) == 0)
            return (int)i;
    return -1;
}

static const struct config_key *key_find(const char *kind, const char *name)
{
    size_t count;
    const struct config_key *keys = config_keys(&count);

    for (size_t i = 0; i < count; i++)
        if (strcmp(keys[i].section, kind) == 0 && strcmp(keys[i].name, name) == 0)
            return &keys[i];
    return NULL;
}

static int unknown_section(struct config_parser *parser, const char *where, int line,
                           const char *section)
{
    size_t count, best = 4;
    const struct config_key *keys = config_keys(&count), *near = NULL;

    if (strcmp(section, "peer") == 0)
        return error_add(parser, where, line, "a peer's section has its name: [peer NAME]");
    for (size_t i = 0; i < count; i++) {
        size_t d = value_distance(section, keys[i].section);
        if (d < best) {
            best = d;
            near = &keys[i];
        }
    }
    if (near != NULL)
        return error_add(parser, where, line, "unknown section [%.60s]; did you mean [%s]?",
                         section, near->section);
    return error_add(parser, where, line, "unknown section [%.60s]", section);
}

static int unknown_key(struct config_parser *parser, const char *where, int line, const char *kind,
                       const char *name)
{
    size_t count, best = strlen(name) > 5 ? 4 : 3;
    const struct config_key *keys = config_keys(&count), *near = NULL;

    for (size_t i = 0; i < count; i++) {
        /* The same name elsewhere is likelier than a similar one here. */
        bool here = strcmp(keys[i].section, kind) == 0;
        size_t d = value_distance(name, keys[i].name) + (here ? 0 : 1);
        if (d < best && (here || d == 1)) {
            best = d;
            near = &keys[i];
        }
    }
    if (near == NULL)
        return error_add(parser, where, line, "unknown key '%.60s' in [%s]", name, kind);
    return error_add(parser, where, line, "unknown key '%.60s' in [%s]; did you mean %s.%s?", name,
                     kind, near->section, near->name);
}

static void section_note(struct config_parser *parser, const char *kind)
{
    parser->present[section_first(kind)] = true;
}

bool config_has_section(const struct config *config, const char *section)
{
    return section_first(section) >= 0 && config->parser->present[section_first(section)];
}

/* Where the keys of one more named section come from; count: those there are. */
static bool origins_grow(struct origin **origins, size_t count)
{
    size_t keys;

    config_keys(&keys);
    struct origin *grown = reallocarray(*origins, count + 1, keys * sizeof(*grown));
    if (grown == NULL)
        return false;
    memset(grown + count * keys, 0, keys * sizeof(*grown));
    *origins = grown;
    return true;
}

/* --- Peers --- */

const struct config_peer *config_peer_find(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->peer_count; i++)
        if (strcmp(config->peers[i].name, name) == 0)
            return &config->peers[i];
    return NULL;
}

/* The peer of [peer NAME], made if it is new. NULL: refused, and said so. */
static struct config_peer *peer_open(struct config_parser *parser, const char *where, int line,
                                     const char *name)
{
    struct config *config = parser->config;
    struct config_peer *found = (struct config_peer *)config_peer_find(config, name);

    if (found != NULL)
        return found;
    if (!config_is_peer_name(name)) {
        error_add(parser, where, line,
                  "'%.60s' cannot be a peer's name: up to %d letters, digits, '-', '_' and '.'",
                  name, CONFIG_PEER_NAME_MAX);
        return NULL;
    }
    if (config->peer_count == CONFIG_PEERS_MAX) {
        error_add(parser, where, line, "more than %d peers", CONFIG_PEERS_MAX);
        return NULL;
    }
    struct config_peer *peers =
        reallocarray(config->peers, config->peer_count + 1, sizeof *config->peers);
    if (peers == NULL)
        return NULL;
    config->peers = peers;
    if (!origins_grow(&parser->peer_origins, config->peer_count))
        return NULL;
    struct config_peer *peer = &peers[config->peer_count];
    *peer = (struct config_peer){.name = strdup(name), .ticket = strdup(""), .line = line};
    config->peer_count++;
    return peer;
}

/* --- Named TURN servers --- */

const struct config_turn *config_turn_find(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->turn_count; i++)
        if (strcmp(config->turns[i].name, name) == 0)
            return &config->turns[i];
    return NULL;
}

/* Those of [turn NAME], made if they are new. NULL: refused, and said so. */
static struct config_turn *turn_open(struct config_parser *parser, const char *where, int line,
                                     const char *name)
{
    struct config *config = parser->config;
    struct config_turn *found = (struct config_turn *)config_turn_find(config, name);

    if (found != NULL)
        return found;
    if (!config_is_peer_name(name) || config->turn_count == CONFIG_TURNS_MAX) {
        error_add(parser, where, line,
                  "[turn %.60s]: names have up to %d letters, digits, '-', '_' and '.'; there can "
                  "be %d of them",
                  name, CONFIG_PEER_NAME_MAX, CONFIG_TURNS_MAX);
        return NULL;
    }
    struct config_turn *turns =
        reallocarray(config->turns, config->turn_count + 1, sizeof(*config->turns));
    if (turns == NULL)
        return NULL;
    config->turns = turns;
    if (!origins_grow(&parser->turn_origins, config->turn_count))
        return NULL;
    turns[config->turn_count] = (struct config_turn){.name = strdup(name),
                                                     .user = strdup(""),
                                                     .password_file = strdup(""),
                                                     .secret_file = strdup(""),
                                                     .ca_file = strdup(""),
                                                     .renew_us = CONFIG_TURN_RENEW_US};
    return &turns[config->turn_count++];
}

/* --- Setting --- */

static bool is_list(const struct config_key *key)
{
    return key->type >= CONFIG_ADDRS;
}

/* Checks a value that a stronger source has already overridden. */
static int value_check(const struct config_key *key, const char *text, char *why)
{
    union {
        uint64_t number;
        char *string;
        struct config_strategies strategies;
        struct config_strings list;
        struct node_id id;
    } scratch;

    memset(&scratch, 0, sizeof scratch);
    int rc = value_set(key, text, &scratch, why);
    value_clear(key, &scratch);
    return rc;
}

static int key_set(struct config_parser *parser, const struct config_key *key, void *field,
                   struct origin *origin, enum source source, const char *where, int line,
                   const char *text)
{
    char why[CONFIG_WHY_MAX] = "out of memory";
    int rc = 0;

    for (const char *p = text; *p != '\0'; p++)
        if ((unsigned char)*p < 0x20 && *p != '\t')
            return error_add(parser, where, line, "%s.%s: a control character in the value",
                             key->section, key->name);
    if (source == SOURCE_FILE && origin->source == SOURCE_FILE && !key->repeat)
        return error_add(parser, where, line, "%s.%s is set twice; first on line %d", key->section,
                         key->name, origin->line);
    if (source < origin->source) {
        rc = is_list(key) && *text == '\0' ? 0 : value_check(key, text, why);
    } else if (is_list(key)) {
        /* An empty value empties the list: what the default or the file has is not wanted. */
        if (source > origin->source || !key->repeat || *text == '\0')
            value_clear(key, field);
        if (*text != '\0')
            rc = value_set(key, text, field, why);
    } else {
        rc = value_set(key, text, field, why);
    }
    if (source >= origin->source)
        *origin = (struct origin){source, line};
    if (rc != 0)
        return error_add(parser, where, line, "%s.%s: %s", key->section, key->name, why);
    if (key->unused)
        note_add(parser, where, line, "%s.%s is not used by this version", key->section, key->name);
    return 0;
}

/* A key of a named section. */
static int turn_set(struct config_parser *parser, const struct config_key *key, enum source source,
                    const char *where, int line, const char *name, const char *value)
{
    struct config_turn *turn = turn_open(parser, where, line, name);
    size_t count;
    const struct config_key *keys = config_keys(&count);

    if (turn == NULL)
        return ADIT_EFORMAT;
    size_t index = (size_t)(turn - parser->config->turns);
    return key_set(parser, key, (char *)turn + (key->offset - offsetof(struct config, turn)),
                   &parser->turn_origins[index * count + (size_t)(key - keys)], source, where, line,
                   value);
}

/* section: "path", "peer home", "turn work" */
static int setting_apply(struct config_parser *parser, enum source source, const char *where,
                         int line, const char *section, const char *name, const char *value)
{
    const char *kind = section_kind(section);
    size_t count;
    const struct config_key *keys = config_keys(&count);
    const struct config_key *key = key_find(kind, name);

    if (key == NULL && section_first(kind) < 0)
        return unknown_section(parser, where, line, section);
    if (key == NULL)
        return unknown_key(parser, where, line, kind, name);
    if (section_name(section) == NULL) {
        if (strcmp(kind, "peer") == 0)
            return unknown_section(parser, where, line, section);
        section_note(parser, kind);
        return key_set(parser, key, (char *)parser->config + key->offset,
                       &parser->origins[key - keys], source, where, line, value);
    }

    if (strcmp(kind, "turn") == 0)
        return turn_set(parser, key, source, where, line, section_name(section), value);
    struct config_peer *peer = peer_open(parser, where, line, section_name(section));
    if (peer == NULL)
        return ADIT_EFORMAT;
    size_t index = (size_t)(peer - parser->config->peers);
    int rc = key_set(parser, key, (char *)peer + key->offset,
                     &parser->peer_origins[index * count + (size_t)(key - keys)], source, where,
                     line, value);
    if (rc == 0 && key->type == CONFIG_NODE_ID)
        peer->has_id = true;
    return rc;
}

int config_set(struct config *config, const char *assignment)
{
    struct config_parser *parser = config->parser;
    const char *equals = strchr(assignment, '=');
    char path[128], where[140];

    if (equals == NULL || (size_t)(equals - assignment) >= sizeof path)
        return error_add(parser, "-o", 0, "'%.60s' is not SECTION.KEY=VALUE", assignment);
    if (strlen(equals) > CONFIG_LINE_MAX_BYTES)
        return error_add(parser, "-o", 0, "the value is too long");
    memcpy(path, assignment, (size_t)(equals - assignment));
    path[equals - assignment] = '\0';
    snprintf(where, sizeof where, "-o %s", path);
    char *dot = strrchr(path, '.');
    if (dot == NULL || dot == path || dot[1] == '\0')
        return error_add(parser, where, 0, "write SECTION.KEY=VALUE, as in path.hold=60s");
    *dot = '\0';
    if (strncmp(path, "peer.", 5) == 0 || strncmp(path, "turn.", 5) == 0)
        path[4] = ' ';
    return setting_apply(parser, SOURCE_OPTION, where, 0, path, dot + 1, equals + 1);
}

/* --- Reading files --- */

static void section_begin(struct config_parser *parser, char *line)
{
    char *end = strchr(line, ']');

    free(parser->section);
    parser->section = NULL;
    parser->section_wrong = true;
    if (end == NULL || end[1] != '\0') {
        error_add(parser, parser->file, parser->line, "a section is written [NAME]");
        return;
    }
    *end = '\0';
    const char *name = value_trim(line + 1);
    if (section_name(name) != NULL) {
        bool is_peer = strcmp(section_kind(name), "peer") == 0;
        if (is_peer ? peer_open(parser, parser->file, parser->line, section_name(name)) == NULL
                    : turn_open(parser, parser->file, parser->line, section_name(name)) == NULL)
            return;
    } else if (section_first(name) < 0 || strcmp(name, "peer") == 0) {
        unknown_section(parser, parser->file, parser->line, name);
        return;
    }
    section_note(parser, section_kind(name));
    parser->section = strdup(name);
    parser->section_wrong = parser->section == NULL;
}

/* Copies the next line of the text to parser->buf, with or without its newline. false: no more. */
static bool line_fetch(struct config_parser *parser)
{
    if (parser->next == parser->end)
        return false;
    size_t left = (size_t)(parser->end - parser->next);
    const char *newline = memchr(parser->next, '\n', left);
    size_t len = newline != NULL ? (size_t)(newline - parser->next) : left;

    parser->line++;
    parser->buf[0] = '\0';
    if (len > CONFIG_LINE_MAX_BYTES)
        error_add(parser, parser->file, parser->line, "the line is longer than %d bytes",
                  CONFIG_LINE_MAX_BYTES);
    else if (memchr(parser->next, '\0', len) != NULL)
        error_add(parser, parser->file, parser->line, "a NUL byte in the line");
    else {
        memcpy(parser->buf, parser->next, len);
        parser->buf[len] = '\0';
    }
    parser->next += len + (newline != NULL);
    return true;
}

/* inih's reader: like fgets(), out has size bytes. */
static char *line_read(char *out, int size, void *arg)
{
    struct config_parser *parser = arg;

    (void)size; /* at least INI_LINE_BYTES */
    if (!line_fetch(parser))
        return NULL;
    strcpy(out, "\n");
    parser->value = NULL;
    char *line = parser->buf;
    if (parser->line == 1 && strncmp(line, "\xef\xbb\xbf", 3) == 0)
        line += 3;
    value_cut_comment(line);
    line = value_trim(line);
    if (*line == '\0')
        return out;
    if (*line == '[') {
        section_begin(parser, line);
        return out;
    }
    if (parser->section_wrong)
        return out;
    if (parser->section == NULL) {
        error_add(parser, parser->file, parser->line, "a key before the first [SECTION]");
        return out;
    }
    size_t name_len = strcspn(line, "=:");
    if (line[name_len] == '\0' || name_len == 0) {
        error_add(parser, parser->file, parser->line, "'%.40s' is not KEY = VALUE", line);
        return out;
    }
    if (strlen(line) < INI_LINE_BYTES) {
        strcpy(out, line);
    } else if (name_len < INI_NAME_BYTES) {
        memcpy(out, line, name_len + 1);
        out[name_len + 1] = '\0';
        parser->value = value_trim(line + name_len + 1);
    } else {
        error_add(parser, parser->file, parser->line, "'%.40s...' is no key", line);
    }
    return out;
}

static int line_handle(void *arg, const char *section, const char *name, const char *value)
{
    struct config_parser *parser = arg;

    (void)section; /* inih's copy may be cut short */
    setting_apply(parser, SOURCE_FILE, parser->file, parser->line, parser->section, name,
                  parser->value != NULL ? parser->value : value);
    return 1;
}

int config_parse(struct config *config, const char *text, size_t len, const char *name)
{
    struct config_parser *parser = config->parser;
    size_t before = parser->errors.count;

    parser->buf = malloc(CONFIG_LINE_MAX_BYTES + 1);
    if (parser->buf == NULL)
        return -ENOMEM;
    parser->file = name;
    parser->next = text;
    parser->end = text + len;
    parser->line = 0;
    parser->section_wrong = false;
    int rc = ini_parse_stream(line_read, parser, line_handle, parser);
    if (rc != 0 && parser->errors.count == before)
        error_add(parser, name, rc > 0 ? rc : 0, "not understood");
    free(parser->buf);
    free(parser->section);
    parser->buf = parser->section = NULL;
    parser->file = NULL;
    return parser->errors.count == before ? 0 : ADIT_EFORMAT;
}

/* That a broker can be talked to by this URL, and is told a password. */
static bool has_password(const char *text, struct broker_url *url)
{
    return broker_url_parse((const uint8_t *)text, strlen(text), url, NULL) == 0 &&
           url->has_password;
}

/* Tickets may hold the right to enrol, and are nobody else's business; passwords neither. */
static void privacy_check(struct config *config, const char *path, mode_t mode)
{
    bool tickets = strncasecmp(config->gateway.exit, "adit1", 5) == 0, passwords = false;
    struct broker_url url;

    for (size_t i = 0; i < config->peer_count; i++)
        tickets |= config->peers[i].ticket[0] != '\0';
    for (size_t i = 0; i < config->signal.broker.count; i++)
        passwords |= has_password(config->signal.broker.items[i], &url);
    explicit_bzero(&url, sizeof(url));
    if ((tickets || passwords) && S_ISREG(mode) && (mode & 044) != 0)
        note_add(config->parser, path, 0, "it holds a %s, and others may read it; chmod go-r it",
                 tickets ? "ticket" : "broker's password");
}

int config_load(struct config *config, const char *path)
{
    char *text = NULL;
    struct stat st;
    FILE *file = fopen(path, "re");
    int rc = 0;

    if (file == NULL || fstat(fileno(file), &st) != 0)
        rc = -errno;
    else if (S_ISDIR(st.st_mode))
        rc = -EISDIR;
    else if ((text = malloc(CONFIG_FILE_MAX_BYTES + 1)) == NULL)
        rc = -ENOMEM;
    if (rc != 0) {
        error_add(config->parser, path, 0, "cannot be read: %s", err_text(rc));
        goto out;
    }
    size_t len = fread(text, 1, CONFIG_FILE_MAX_BYTES + 1, file);
    if (ferror(file)) {
        rc = -EIO;
        error_add(config->parser, path, 0, "cannot be read: %s", err_text(rc));
    } else if (len > CONFIG_FILE_MAX_BYTES) {
        rc = error_add(config->parser, path, 0, "longer than %d bytes", CONFIG_FILE_MAX_BYTES);
    } else {
        rc = config_parse(config, text, len, path);
        privacy_check(config, path, st.st_mode);
    }
out:
    free(text);
    if (file != NULL)
        fclose(file);
    return rc;
}

/* --- The whole --- */

/* Was any of the keys that say who a peer is given (rightly or not)? */
static bool peer_is_told(const struct config_parser *parser, size_t index)
{
    size_t count;
    const struct config_key *keys = config_keys(&count);
    const struct origin *origins = &parser->peer_origins[index * count];

    for (size_t i = 0; i < count; i++)
        if ((keys[i].type == CONFIG_NODE_ID || keys[i].type == CONFIG_TICKET) &&
            origins[i].source != SOURCE_DEFAULT)
            return true;
    return false;
}

/* A ticket says whose it is, too. */
static void peer_take_id(struct config_peer *peer)
{
    struct ticket ticket;

    if (peer->has_id || ticket_parse(peer->ticket, strlen(peer->ticket), &ticket) != TICKET_OK)
        return;
    peer->id = ticket.id;
    peer->has_id = true;
    explicit_bzero(&ticket, sizeof(ticket));
}

static void peers_check(struct config_parser *parser)
{
    struct config *config = parser->config;

    for (size_t i = 0; i < config->peer_count; i++) {
        struct config_peer *peer = &config->peers[i];
        peer_take_id(peer);
        if (!peer_is_told(parser, i))
            error_add(parser, "configuration", 0, "[peer %s] has neither id nor ticket",
                      peer->name);
        for (size_t j = 0; peer->has_id && j < i; j++)
            if (config->peers[j].has_id && node_id_equal(&peer->id, &config->peers[j].id))
                error_add(parser, "configuration", 0, "[peer %s] and [peer %s] have the same id",
                          config->peers[j].name, peer->name);
    }
}

static void brokers_check(struct config_parser *parser)
{
    const struct config_strings *brokers = &parser->config->signal.broker;
    char name[BROKER_NAME_BYTES];
    struct broker_url url;

    if (brokers->count > TICKET_BROKERS_MAX)
        error_add(parser, "configuration", 0, "signal.broker: more than %d brokers",
                  TICKET_BROKERS_MAX);
    for (size_t i = 0; i < brokers->count; i++)
        if (has_password(brokers->items[i], &url) && broker_url_is_exposed(&url))
            note_add(parser, "configuration", 0,
                     "signal.broker %s: the password crosses the network in clear; use %s",
                     broker_url_name(&url, name), broker_url_is_websocket(&url) ? "wss" : "mqtts");
    explicit_bzero(&url, sizeof(url));
}

int config_finish(struct config *config)
{
    struct config_parser *parser = config->parser;
    size_t before = parser->errors.count;

    peers_check(parser);
    brokers_check(parser);
    if (config->path.dial_retry_us > config->path.dial_retry_max_us)
        error_add(parser, "configuration", 0,
                  "path.dial_retry is longer than path.dial_retry_max; make it shorter");
    for (size_t i = 0; i < config->exit.allow.count; i++)
        if (config->exit.allow.items[i].kind == RULE_ANY &&
            config->exit.allow.items[i].port_low == 0)
            error_add(parser, "configuration", 0,
                      "exit.allow: '*' would open nothing, for public addresses are open already; "
                      "0.0.0.0/0 and ::/0 open all others, *:PORT a port");
    for (size_t i = 0; i < config->exit.reverse.count; i++)
        if (config->exit.reverse.items[i].kind == RULE_NAME)
            error_add(parser, "configuration", 0,
                      "exit.reverse: '%s' is a name; write addresses of this machine, as in "
                      "127.0.0.1:8080",
                      config->exit.reverse.items[i].name);
    for (size_t i = 0; i <= config->turn_count; i++) {
        const struct config_turn *turn = i == 0 ? &config->turn : &config->turns[i - 1];
        if (turn->password_file[0] != '\0' && turn->secret_file[0] != '\0')
            error_add(parser, "configuration", 0,
                      "turn%s%s: password_file and secret_file are both set; keep one",
                      i == 0 ? "" : " ", i == 0 ? "" : turn->name);
    }
    return parser->errors.count == before ? 0 : ADIT_EFORMAT;
}

static int defaults_set(struct config *config)
{
    char why[CONFIG_WHY_MAX];
    size_t count;
    const struct config_key *keys = config_keys(&count);

    for (size_t i = 0; i < count; i++) {
        void *field = (char *)config + keys[i].offset;
        const char *text = keys[i].fallback;
        if (strcmp(keys[i].section, "peer") == 0)
            continue;
        bool string = keys[i].type == CONFIG_STRING || keys[i].type == CONFIG_FILE;
        if (text == NULL && !string)
            continue;
        if (value_set(&keys[i], text != NULL ? text : "", field, why) != 0)
            return -ENOMEM;
    }
    return 0;
}

struct config *config_new(void)
{
    struct config *config = calloc(1, sizeof *config);
    size_t count;

    config_keys(&count);
    if (config == NULL)
        return NULL;
    config->parser = calloc(1, sizeof *config->parser);
    if (config->parser == NULL)
        goto fail;
    config->parser->config = config;
    config->parser->origins = calloc(count, sizeof *config->parser->origins);
    config->parser->present = calloc(count, sizeof *config->parser->present);
    if (config->parser->origins == NULL || config->parser->present == NULL ||
        defaults_set(config) != 0)
        goto fail;
    return config;
fail:
    config_free(config);
    return NULL;
}

void config_free(struct config *config)
{
    size_t count;
    const struct config_key *keys = config_keys(&count);

    if (config == NULL)
        return;
    for (size_t i = 0; i < count; i++)
        if (strcmp(keys[i].section, "peer") != 0)
            value_clear(&keys[i], (char *)config + keys[i].offset);
    for (size_t i = 0; i < config->peer_count; i++) {
        free(config->peers[i].name);
        free(config->peers[i].ticket);
    }
    free(config->peers);
    for (size_t i = 0; i < config->turn_count; i++) {
        for (size_t j = 0; j < count; j++)
            if (strcmp(keys[j].section, "turn") == 0)
                value_clear(&keys[j], (char *)&config->turns[i] +
                                          (keys[j].offset - offsetof(struct config, turn)));
        free(config->turns[i].name);
    }
    free(config->turns);
    if (config->parser != NULL) {
        messages_free(&config->parser->errors);
        messages_free(&config->parser->notes);
        free(config->parser->present);
        free(config->parser->origins);
        free(config->parser->peer_origins);
        free(config->parser->turn_origins);
        free(config->parser);
    }
    free(config);
}

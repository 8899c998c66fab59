/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * What `adit turn decode` prints. Of each event a first line: number, time since the first, who to
 * whom, and what it is; then what it has to do with others, and its attributes, indented. In JSON
 * an object a line. The words of messages are stun/words.h's; an attribute's line there begins with
 * its offset, by which it is found in the message.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/turn.h"
#include "stun/words.h"

static const char *const kind_names[] = {"stun", "channel", "records", "rtp", "relayed",
                                         "icmp", "strange", "other",   "gap"};
static_assert(sizeof(kind_names) / sizeof(*kind_names) == TRACE_KINDS, "one for each kind");

static const char *role_name(enum trace_role role)
{
    switch (role) {
    case TRACE_ALONE:
        return NULL;
    case TRACE_REQUEST:
        return "request";
    case TRACE_REPEATED:
        return "repeated";
    case TRACE_ANSWER:
        return "answer";
    case TRACE_ANSWERED_AGAIN:
        return "answered-again";
    case TRACE_UNASKED:
        return "unasked";
    }
    return NULL;
}

static bool is_told_by_words(const struct trace_event *event)
{
    return event->kind == TRACE_STUN || event->kind == TRACE_CHANNEL ||
           event->kind == TRACE_STRANGE;
}

/* What an event has to do with others; "" if nothing. */
static void relation(const struct trace_event *event, char *buf, size_t size)
{
    char peer[ADDR_TEXT_MAX], after[48] = "", sent[48] = "";

    buf[0] = '\0';
    if (event->rtt_us >= 0)
        snprintf(after, sizeof(after), " after %.3f ms", (double)event->rtt_us / 1000);
    if (event->sent > 1)
        snprintf(sent, sizeof(sent), ", which was sent %u times", event->sent);
    switch (event->role) {
    case TRACE_ALONE:
        if (event->has_peer)
            snprintf(buf, size, "the channel of peer %s", addr_format(&event->peer, peer));
        break;
    case TRACE_REQUEST:
        break;
    case TRACE_REPEATED:
        snprintf(buf, size, "#%" PRIu64 " sent again, for the %u. time", event->request,
                 event->sent);
        break;
    case TRACE_ANSWER:
        snprintf(buf, size, "answers #%" PRIu64 "%s%s", event->request, after, sent);
        break;
    case TRACE_ANSWERED_AGAIN:
        snprintf(buf, size, "answers #%" PRIu64 " once more%s", event->request, after);
        break;
    case TRACE_UNASKED:
        snprintf(buf, size, "its request is not in the capture");
        break;
    }
}

/* What an error means to a user; the question for credentials is no trouble. NULL: nothing. */
static const char *meaning(const struct trace_event *event)
{
    const struct stun_message *m = event->message;
    struct stun_error error;

    if (m == NULL || m->class != STUN_ERROR ||
        stun_read_error(stun_find(m, STUN_ATTR_ERROR_CODE), &error) != 0)
        return NULL;
    if (error.code == STUN_UNAUTHENTICATED && event->role == TRACE_ANSWER)
        return event->was_signed ? "the user or the password is wrong, or has expired"
                                 : "the server asks who is there, as it should";
    return words_error_meaning(error.code);
}

/* --- Text --- */

struct lines {
    const struct turn_print *print;
    const struct trace_event *event;
    size_t count;
};

static void print_head(const struct turn_print *print, const struct trace_event *event)
{
    char from[ADDR_TEXT_MAX], to[ADDR_TEXT_MAX];

    printf("#%" PRIu64 " ", event->number);
    if (event->time_us != 0)
        printf("%.6f ", (double)(event->time_us - print->start_us) / 1e6);
    if (addr_is_set(&event->from) && addr_is_set(&event->to))
        printf("%s %s > %s: ", packet_protocol_name(event->protocol),
               event->protocol == PACKET_ICMP ? addr_format_ip(&event->from, from)
                                              : addr_format(&event->from, from),
               event->protocol == PACKET_ICMP ? addr_format_ip(&event->to, to)
                                              : addr_format(&event->to, to));
}

static void on_line(void *arg, const char *line)
{
    struct lines *lines = arg;
    char text[160];

    if (lines->count++ > 0) {
        if (!lines->print->brief || strstr(line, "MALFORMED") || strstr(line, "unknown") ||
            strstr(line, "WRONG"))
            printf("  %s\n", line);
        return;
    }
    relation(lines->event, text, sizeof(text));
    if (lines->print->brief && lines->event->message != NULL) {
        char summary[WORDS_SUMMARY_MAX];

        printf("%s%s%s%s\n", words_summary(lines->event->message, summary), text[0] ? " (" : "",
               text, text[0] ? ")" : "");
        return;
    }
    printf("%s\n", line);
    if (text[0] != '\0')
        printf("    %s\n", text);
}

static bool print_text(const struct turn_print *print, const struct trace_event *event)
{
    struct lines lines = {.print = print, .event = event};
    const char *means = meaning(event);
    bool clear = true;

    print_head(print, event);
    if (is_told_by_words(event))
        clear = words_packet(event->bytes, event->len, event->key, on_line, &lines);
    else
        printf("%s\n", event->text);
    if (event->missing > 0)
        printf("    the capture has cut off %zu bytes (tcpdump: -s 0)\n", event->missing);
    if (means != NULL && !print->brief)
        printf("    means: %s\n", means);
    return clear;
}

/* --- JSON --- */

static void set_hex(json_t *object, const char *name, const uint8_t *bytes, size_t len)
{
    char text[2 * 64 + 1] = "";

    for (size_t i = 0; i < len && i < 64; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    json_object_set_new(object, name, json_string(text));
}

struct json_lines {
    json_t *object, *attributes, *problems;
    const struct stun_message *message;
};

static void on_json_line(void *arg, const char *line)
{
    struct json_lines *lines = arg;
    unsigned long offset = strncmp(line, "  at ", 5) == 0 ? strtoul(line + 5, NULL, 10) : 0;
    const char *text = strncmp(line, "  at ", 5) == 0 ? strchr(line, ':') : NULL;
    const struct stun_attr *attr = NULL;

    if (text == NULL || strncmp(text, ": MALFORMED", 11) == 0) {
        if (text != NULL)
            json_array_append_new(lines->problems, json_string(text + 2));
        else
            json_object_set_new(lines->object, "text", json_string(line));
        return;
    }
    for (size_t i = 0; lines->message != NULL && i < lines->message->count; i++)
        if (lines->message->attrs[i].offset == offset)
            attr = &lines->message->attrs[i];
    json_t *one = json_pack("{s:I}", "offset", (json_int_t)offset);
    const char *name = attr != NULL ? words_attr(attr->type) : NULL;
    if (attr != NULL)
        json_object_set_new(one, "type", json_integer(attr->type));
    text += 2;
    if (name != NULL) {
        json_object_set_new(one, "name", json_string(name));
        if (strncmp(text, name, strlen(name)) == 0)
            text += strlen(name);
        while (*text == ' ' || *text == ',')
            text++;
    }
    json_object_set_new(one, "value", json_string(text));
    json_array_append_new(lines->attributes, one);
}

static void set_addr(json_t *object, const char *name, const struct addr *addr)
{
    char text[ADDR_TEXT_MAX];

    if (addr_is_set(addr))
        json_object_set_new(
            object, name,
            json_string(addr->port != 0 ? addr_format(addr, text) : addr_format_ip(addr, text)));
}

static void set_message(json_t *object, const struct stun_message *message)
{
    const char *method = words_method(message->method);

    json_object_set_new(object, "method",
                        method != NULL ? json_string(method) : json_integer(message->method));
    json_object_set_new(object, "class", json_string(words_class(message->class)));
    set_hex(object, "id", message->id.bytes, STUN_ID_BYTES);
}

static void set_relation(json_t *object, const struct trace_event *event)
{
    const char *role = role_name(event->role);

    if (role != NULL)
        json_object_set_new(object, "role", json_string(role));
    if (event->request != 0)
        json_object_set_new(object, "request", json_integer((json_int_t)event->request));
    if (event->rtt_us >= 0)
        json_object_set_new(object, "rtt_ms", json_real((double)event->rtt_us / 1000));
    if (event->sent != 0)
        json_object_set_new(object, "sent", json_integer(event->sent));
    if (event->has_peer)
        set_addr(object, "peer", &event->peer);
}

static void print_object(json_t *object)
{
    char *text = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(15));

    printf("%s\n", text != NULL ? text : "{}");
    free(text);
    json_decref(object);
}

static bool print_json(const struct trace_event *event)
{
    json_t *object = json_pack("{s:I, s:s, s:I}", "number", (json_int_t)event->number, "kind",
                               kind_names[event->kind], "bytes", (json_int_t)event->len);
    struct json_lines lines = {object, json_array(), json_array(), event->message};
    const char *means = meaning(event);
    bool clear = true;

    if (event->time_us != 0)
        json_object_set_new(object, "time", json_real((double)event->time_us / 1e6));
    if (addr_is_set(&event->from))
        json_object_set_new(object, "protocol", json_string(packet_protocol_name(event->protocol)));
    set_addr(object, "from", &event->from);
    set_addr(object, "to", &event->to);
    if (event->message != NULL)
        set_message(object, event->message);
    set_relation(object, event);
    if (is_told_by_words(event))
        clear = words_packet(event->bytes, event->len, event->key, on_json_line, &lines);
    else
        json_object_set_new(object, "text", json_string(event->text));
    if (event->missing > 0)
        json_object_set_new(object, "missing", json_integer((json_int_t)event->missing));
    if (means != NULL)
        json_object_set_new(object, "meaning", json_string(means));
    json_object_set_new(object, "attributes", lines.attributes);
    json_object_set_new(object, "problems", lines.problems);
    json_object_set_new(object, "clear", json_boolean(clear));
    print_object(object);
    return clear;
}

static void count_event(struct turn_print_count *count, uint64_t number)
{
    if (count->count < sizeof(count->first) / sizeof(*count->first))
        count->first[count->count] = number;
    count->count++;
}

static void count_integrities(struct turn_print *print, const struct trace_event *event)
{
    const enum stun_verdict verdicts[] = {
        stun_check_integrity(event->message, event->key),
        stun_check_integrity_sha256(event->message, event->key),
    };
    bool wrong = false;

    for (int i = 0; i < 2; i++) {
        print->right += verdicts[i] == STUN_VERDICT_GOOD;
        wrong = wrong || verdicts[i] == STUN_VERDICT_WRONG;
    }
    if (wrong)
        count_event(&print->wrong, event->number);
}

void turn_print_event(void *arg, const struct trace_event *event)
{
    struct turn_print *print = arg;
    bool clear;

    if (print->start_us == 0)
        print->start_us = event->time_us;
    clear = print->json ? print_json(event) : print_text(print, event);
    if (!clear)
        count_event(&print->unclear, event->number);
    if (event->key != NULL && event->message != NULL)
        count_integrities(print, event);
}

/* --- Summary --- */

static void summary_json(const struct turn_print *print, const struct trace_summary *s)
{
    json_t *kinds = json_object(), *methods = json_object(), *errors = json_object(), *all;

    for (size_t i = 0; i < TRACE_KINDS; i++)
        json_object_set_new(kinds, kind_names[i], json_integer((json_int_t)s->kinds[i]));
    for (size_t i = 0; i < TRACE_METHODS_MAX && s->methods[i].requests > 0; i++) {
        char number[16];
        const char *name = words_method(s->methods[i].method);
        json_t *method = json_pack("{s:I, s:I}", "requests", (json_int_t)s->methods[i].requests,
                                   "answered", (json_int_t)s->methods[i].answered);

        snprintf(number, sizeof(number), "0x%03x", s->methods[i].method);
        if (s->methods[i].timed > 0) {
            json_object_set_new(method, "rtt_min_ms",
                                json_real((double)s->methods[i].min_us / 1000));
            json_object_set_new(
                method, "rtt_ms",
                json_real((double)s->methods[i].sum_us / (double)s->methods[i].timed / 1000));
            json_object_set_new(method, "rtt_max_ms",
                                json_real((double)s->methods[i].max_us / 1000));
        }
        json_object_set_new(methods, name != NULL ? name : number, method);
    }
    for (size_t i = 0; i < TRACE_ERRORS_MAX && s->errors[i].count > 0; i++) {
        char code[16];

        snprintf(code, sizeof(code), "%u", s->errors[i].code);
        json_object_set_new(errors, code, json_integer((json_int_t)s->errors[i].count));
    }
    all = json_pack("{s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "kinds",
                    kinds, "methods", methods, "errors", errors, "other_packets",
                    (json_int_t)s->foreign, "requests", (json_int_t)s->requests, "answered",
                    (json_int_t)s->answered, "refused", (json_int_t)s->refused, "repeated",
                    (json_int_t)s->repeated, "unasked", (json_int_t)s->unasked, "indications",
                    (json_int_t)s->indications, "flows", (json_int_t)s->flows, "relayed_addresses",
                    (json_int_t)s->relays, "unclear", (json_int_t)print->unclear.count);
    if (print->verifies)
        json_object_set_new(all, "integrity",
                            json_pack("{s:I, s:I}", "right", (json_int_t)print->right, "wrong",
                                      (json_int_t)print->wrong.count));
    print_object(json_pack("{s:o}", "summary", all));
}

static void summary_kinds(const struct trace_summary *s)
{
    static const char *const texts[] = {"STUN messages",   "ChannelData",   "TLS or DTLS",
                                        "RTP or RTCP",     "relayed",       "ICMP errors",
                                        "of another kind", "other traffic", "gaps"};
    const char *comma = "";

    static_assert(sizeof(texts) / sizeof(*texts) == TRACE_KINDS, "one for each kind");
    printf("in all: ");
    for (size_t i = 0; i < TRACE_KINDS; i++) {
        if (s->kinds[i] == 0 && i != TRACE_STUN)
            continue;
        printf("%s%" PRIu64 " %s", comma, s->kinds[i], texts[i]);
        comma = ", ";
    }
    if (s->foreign > 0)
        printf("; %" PRIu64 " other packets are not told (--all)", s->foreign);
    printf("\n");
}

static void summary_requests(const struct trace_summary *s)
{
    printf("requests: %" PRIu64 ", answered %" PRIu64 " (%" PRIu64
           " with an error), unanswered %" PRIu64 ", sent again %" PRIu64 "; indications: %" PRIu64
           "\n",
           s->requests, s->answered, s->refused, s->requests - s->answered, s->repeated,
           s->indications);
    for (size_t i = 0; i < TRACE_METHODS_MAX && s->methods[i].requests > 0; i++) {
        const char *name = words_method(s->methods[i].method);

        printf("  %-18s %" PRIu64 " of %" PRIu64 " answered",
               name != NULL ? name : "unknown method", s->methods[i].answered,
               s->methods[i].requests);
        if (s->methods[i].timed > 0)
            printf(", in %.3f to %.3f ms, %.3f on average", (double)s->methods[i].min_us / 1000,
                   (double)s->methods[i].max_us / 1000,
                   (double)s->methods[i].sum_us / (double)s->methods[i].timed / 1000);
        printf("\n");
    }
    for (size_t i = 0; i < TRACE_ERRORS_MAX && s->errors[i].count > 0; i++) {
        const char *phrase = words_error(s->errors[i].code);

        printf("  error %u %s: %" PRIu64 "\n", s->errors[i].code,
               phrase != NULL ? phrase : "(not known)", s->errors[i].count);
    }
}

/* "3 (#7, #9, #12)" */
static void print_count(const char *what, const struct turn_print_count *count)
{
    printf("%s%" PRIu64 " (", what, count->count);
    for (size_t i = 0; i < count->count; i++) {
        if (i == sizeof(count->first) / sizeof(*count->first)) {
            printf(", ...");
            break;
        }
        printf("%s#%" PRIu64, i > 0 ? ", " : "", count->first[i]);
    }
    printf(")");
}

void turn_print_summary(const struct turn_print *print, const struct trace_summary *summary)
{
    if (print->json) {
        summary_json(print, summary);
        return;
    }
    printf("\n");
    summary_kinds(summary);
    if (summary->requests + summary->indications + summary->unasked > 0)
        summary_requests(summary);
    if (print->verifies) {
        printf("integrities: %" PRIu64 " right", print->right);
        if (print->wrong.count > 0)
            print_count(", WRONG: of another user, with another password, or changed: ",
                        &print->wrong);
        printf("\n");
    }
    if (print->unclear.count > 0) {
        print_count("unknown or malformed: ", &print->unclear);
        printf("\n");
    } else if (summary->kinds[TRACE_STUN] + summary->kinds[TRACE_CHANNEL] > 0) {
        printf("nothing in it is unknown or malformed\n");
    }
}

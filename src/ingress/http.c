/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A head is parsed in two steps. http_scan() walks over each byte once, as bytes arrive, until the
 * empty line; it refuses control characters at once. The parsers then cut the whole head into
 * lines, and lines into names and values that point into it. Nothing is allocated.
 *
 * Defences against request smuggling (RFC 9112 11.2): in a request, Content-Length together with
 * Transfer-Encoding, either of them twice, a length that is not plain digits, a coding other than
 * chunked, Transfer-Encoding in HTTP/1.0, folded lines, space before a colon, bare CR or LF and two
 * Host fields are all refused; chunk lines end in CR LF exactly. In a response, equal lengths
 * repeated are taken as one (RFC 9110 8.6) and the rest is refused.
 *
 * Limits: HTTP_HEAD_MAX_BYTES, HTTP_FIELDS_MAX, HTTP_NOMINATED_MAX; beyond them a head is refused.
 * The chunked decoder bounds lines and trailers likewise.
 */
#include "ingress/http.h"

#include <string.h>
#include <strings.h>

#include "base/err.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* tchar, RFC 9110 5.6.2 */
static bool is_token_char(char c)
{
    return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
           (c != 0 && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_token(struct http_text text)
{
    for (size_t i = 0; i < text.len; i++)
        if (!is_token_char(text.at[i]))
            return false;
    return text.len > 0;
}

static struct http_text trim(struct http_text text)
{
    while (text.len > 0 && (text.at[0] == ' ' || text.at[0] == '\t'))
        text.at++, text.len--;
    while (text.len > 0 && (text.at[text.len - 1] == ' ' || text.at[text.len - 1] == '\t'))
        text.len--;
    return text;
}

bool http_text_is(struct http_text text, const char *word)
{
    return text.len == strlen(word) && strncasecmp(text.at, word, text.len) == 0;
}

/* Cuts the next element off a comma-separated list; false at its end. Empty elements are skipped.
 */
static bool list_next(struct http_text *list, struct http_text *element)
{
    while (list->len > 0) {
        const char *comma = memchr(list->at, ',', list->len);
        size_t len = comma ? (size_t)(comma - list->at) : list->len;
        *element = trim((struct http_text){list->at, len});
        list->at += len + (comma != NULL);
        list->len -= len + (comma != NULL);
        if (element->len > 0)
            return true;
    }
    return false;
}

/* --- Heads --- */

ssize_t http_scan(const uint8_t *data, size_t len, size_t *scanned, bool lenient)
{
    size_t i = *scanned;
    size_t max = len < HTTP_HEAD_MAX_BYTES ? len : HTTP_HEAD_MAX_BYTES;

    for (; i < max; i++) {
        uint8_t c = data[i];
        if (c > '\r' && c != 0x7f && (c >= ' ' || lenient))
            continue;
        if (c == '\t')
            continue;
        size_t line_end = i;
        if (c == '\r') {
            if (i + 1 == len)
                break; /* cannot tell yet */
            if (data[i + 1] != '\n')
                return ADIT_EFORMAT;
            i++;
        } else if (c != '\n') {
            if (lenient && c != 0)
                continue;
            return ADIT_EFORMAT;
        } else if (!lenient) {
            return ADIT_EFORMAT;
        }
        if (line_end == 0 || data[line_end - 1] == '\n')
            return (ssize_t)i + 1;
    }
    *scanned = i;
    return i >= HTTP_HEAD_MAX_BYTES ? ADIT_EFULL : 0;
}

static int refuse(struct http_head *head, unsigned status, const char *problem)
{
    head->refuse = status;
    head->problem = problem;
    return status == 431 ? ADIT_EFULL : status == 501 || status == 505 ? -ENOTSUP : ADIT_EFORMAT;
}

static const struct {
    const char *name;
    enum http_name known;
} known_names[] = {
    {"connection", HTTP_CONNECTION},
    {"content-length", HTTP_CONTENT_LENGTH},
    {"expect", HTTP_EXPECT},
    {"host", HTTP_HOST},
    {"keep-alive", HTTP_KEEP_ALIVE},
    {"proxy-authorization", HTTP_PROXY_AUTHORIZATION},
    {"proxy-connection", HTTP_PROXY_CONNECTION},
    {"te", HTTP_TE},
    {"transfer-encoding", HTTP_TRANSFER_ENCODING},
    {"upgrade", HTTP_UPGRADE},
    {"via", HTTP_VIA},
};

static enum http_name name_find(struct http_text name)
{
    for (size_t i = 0; i < sizeof known_names / sizeof known_names[0]; i++)
        if (http_text_is(name, known_names[i].name))
            return known_names[i].known;
    if (name.len > 6 && strncasecmp(name.at, "proxy-", 6) == 0)
        return HTTP_PROXY_ANY;
    return HTTP_OTHER;
}

/* Cuts the next line off [*at, end) and leaves out its line end, which http_scan() has seen. */
static struct http_text line_next(const char **at, const char *end)
{
    const char *newline = memchr(*at, '\n', (size_t)(end - *at));
    struct http_text line = {*at, (size_t)(newline - *at)};
    *at = newline + 1;
    if (line.len > 0 && line.at[line.len - 1] == '\r')
        line.len--;
    return line;
}

static int note_connection(struct http_head *head, struct http_text list)
{
    struct http_text option;

    while (list_next(&list, &option)) {
        if (http_text_is(option, "close"))
            head->close = true;
        else if (http_text_is(option, "upgrade"))
            head->upgrades = true; /* if an Upgrade field says to what: head_finish() */
        else if (http_text_is(option, "keep-alive") || http_text_is(option, "te"))
            continue;
        else if (head->nominated_count == HTTP_NOMINATED_MAX)
            return refuse(head, 431, "Connection names too many fields");
        else
            head->nominated[head->nominated_count++] = option;
    }
    return 0;
}

static int note_length(struct http_head *head, struct http_text value, bool is_request)
{
    uint64_t length = 0;

    /* 18 digits are far more than anybody sends, and cannot overflow. */
    if (value.len == 0 || value.len > 18)
        return refuse(head, 400, "Content-Length is not a number");
    for (size_t i = 0; i < value.len; i++) {
        if (!is_digit(value.at[i]))
            return refuse(head, 400, "Content-Length is not a number");
        length = length * 10 + (uint64_t)(value.at[i] - '0');
    }
    if (head->has_length && (is_request || length != head->length))
        return refuse(head, 400, "Content-Length is there twice");
    head->has_length = true;
    head->length = length;
    return 0;
}

static int note_coding(struct http_head *head, struct http_text list, bool is_request)
{
    struct http_text coding;

    if (head->has_coding && is_request)
        return refuse(head, 400, "Transfer-Encoding is there twice");
    if (is_request && !http_text_is(list, "chunked"))
        return refuse(head, 501, "the only transfer coding known here is chunked");
    head->has_coding = true;
    while (list_next(&list, &coding)) {
        if (head->chunked) /* chunked must come last (RFC 9112 6.1) */
            return refuse(head, 400, "Transfer-Encoding goes on after chunked");
        head->chunked = http_text_is(coding, "chunked");
    }
    return 0;
}

/* What a field means to a proxy. */
static int note_field(struct http_head *head, const struct http_field *field, bool is_request)
{
    struct http_text list = field->value, element;

    switch (field->known) {
    case HTTP_CONNECTION:
        return note_connection(head, field->value);
    case HTTP_CONTENT_LENGTH:
        return note_length(head, field->value, is_request);
    case HTTP_TRANSFER_ENCODING:
        return note_coding(head, field->value, is_request);
    case HTTP_HOST:
        if (head->host.at && is_request)
            return refuse(head, 400, "Host is there twice");
        head->host = field->value;
        return 0;
    case HTTP_EXPECT:
        head->expects |= http_text_is(field->value, "100-continue");
        return 0;
    case HTTP_TE:
        while (list_next(&list, &element))
            head->te_trailers |= http_text_is(element, "trailers");
        return 0;
    case HTTP_UPGRADE:
        if (!head->upgrade.at)
            head->upgrade = field->value;
        return 0;
    case HTTP_PROXY_AUTHORIZATION:
        if (head->authorization.at && is_request)
            return refuse(head, 400, "Proxy-Authorization is there twice");
        head->authorization = field->value;
        return 0;
    case HTTP_OTHER:
    case HTTP_KEEP_ALIVE:
    case HTTP_PROXY_ANY:
    case HTTP_PROXY_CONNECTION:
    case HTTP_VIA:
        return 0;
    }
    return 0;
}

static int parse_field(struct http_head *head, struct http_text line, bool is_request)
{
    if (line.at[0] == ' ' || line.at[0] == '\t')
        return refuse(head, 400, "a field is folded over two lines");
    if (head->count == HTTP_FIELDS_MAX)
        return refuse(head, 431, "too many fields");
    const char *colon = memchr(line.at, ':', line.len);
    if (!colon)
        return refuse(head, 400, "a field has no colon");

    struct http_field *field = &head->fields[head->count];
    field->name = (struct http_text){line.at, (size_t)(colon - line.at)};
    field->value = trim((struct http_text){colon + 1, line.len - field->name.len - 1});
    if (!is_request) /* RFC 9112 5.1: a proxy removes such space from a response */
        field->name = trim(field->name);
    if (!is_token(field->name))
        return refuse(head, 400, "a field's name has characters that none may have");
    field->known = name_find(field->name);
    head->count++;
    return note_field(head, field, is_request);
}

/* The fields of a head, whose start line has been cut off, and what follows from them together. */
static int parse_fields(struct http_head *head, const char *at, const char *end, bool is_request)
{
    for (;;) {
        struct http_text line = line_next(&at, end);
        if (line.len == 0)
            break;
        int r = parse_field(head, line, is_request);
        if (r < 0)
            return r;
    }
    if (head->has_length && head->has_coding)
        return refuse(head, 400, "Content-Length and Transfer-Encoding exclude each other");
    if (head->has_coding && head->minor == 0)
        return refuse(head, 400, "HTTP/1.0 has no Transfer-Encoding");
    /* h2c would speak HTTP/2 to a server that was promised HTTP/1.1 semantics by this proxy;
     * everybody can do without. */
    head->upgrades &= head->minor > 0 && head->upgrade.at && !http_text_is(head->upgrade, "h2c");
    return 0;
}

/* "HTTP/1.DIGIT"; other versions are a matter of their own, not of form. */
static int parse_version(struct http_head *head, struct http_text text)
{
    if (text.len != 8 || memcmp(text.at, "HTTP/", 5) != 0 || !is_digit(text.at[5]) ||
        text.at[6] != '.' || !is_digit(text.at[7]))
        return refuse(head, 400, "the first line does not end in an HTTP version");
    if (text.at[5] != '1')
        return refuse(head, 505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
    head->minor = text.at[7] == '0' ? 0 : 1;
    return 0;
}

static int parse_request_line(struct http_head *head, struct http_text line)
{
    const char *space = memchr(line.at, ' ', line.len);
    const char *last = memrchr(line.at, ' ', line.len);

    if (!space || space == last)
        return refuse(head, 400, "the first line is not METHOD TARGET VERSION");
    head->method = (struct http_text){line.at, (size_t)(space - line.at)};
    head->target = (struct http_text){space + 1, (size_t)(last - space - 1)};
    if (!is_token(head->method))
        return refuse(head, 400, "the method has characters that none may have");
    if (head->target.len == 0 || memchr(head->target.at, ' ', head->target.len) ||
        memchr(head->target.at, '\t', head->target.len) ||
        memchr(head->target.at, '#', head->target.len))
        return refuse(head, 400, "the target is malformed");
    return parse_version(head,
                         (struct http_text){last + 1, line.len - (size_t)(last + 1 - line.at)});
}

/* The part that both kinds share: finds the whole head and refuses what is none. */
static ssize_t find_head(const uint8_t *data, size_t len, struct http_head *head, bool lenient)
{
    size_t scanned = 0;

    /* Not the fields: they count only up to count. */
    memset(head, 0, offsetof(struct http_head, fields));
    memset(&head->nominated_count, 0, sizeof *head - offsetof(struct http_head, nominated_count));
    ssize_t n = http_scan(data, len, &scanned, lenient);
    if (n == ADIT_EFULL)
        return refuse(head, 431, "the head is longer than 64 KiB");
    if (n < 0)
        return refuse(head, 400, "the head has control characters or bare line ends");
    if (n == 1 || (n == 2 && data[0] == '\r'))
        return refuse(head, 400, "the first line is empty");
    return n;
}

ssize_t http_request_parse(const uint8_t *data, size_t len, struct http_head *head)
{
    ssize_t n = find_head(data, len, head, false);
    if (n <= 0)
        return n;

    const char *at = (const char *)data, *end = at + n;
    int r = parse_request_line(head, line_next(&at, end));
    if (r == 0)
        r = parse_fields(head, at, end, true);
    return r < 0 ? r : n;
}

ssize_t http_response_parse(const uint8_t *data, size_t len, struct http_head *head)
{
    ssize_t n = find_head(data, len, head, true);
    if (n <= 0)
        return n;

    const char *at = (const char *)data, *end = at + n;
    struct http_text line = line_next(&at, end);
    if (line.len < 12 || line.at[8] != ' ' || !is_digit(line.at[9]) || !is_digit(line.at[10]) ||
        !is_digit(line.at[11]) || (line.len > 12 && line.at[12] != ' '))
        return refuse(head, 400, "the first line is not VERSION STATUS REASON");
    int r = parse_version(head, (struct http_text){line.at, 8});
    if (r < 0)
        return r;
    head->status =
        (unsigned)((line.at[9] - '0') * 100 + (line.at[10] - '0') * 10 + line.at[11] - '0');
    if (head->status < 100 || head->status > 599)
        return refuse(head, 400, "the status is none that HTTP has");
    if (line.len > 13)
        head->reason = (struct http_text){line.at + 13, line.len - 13};
    r = parse_fields(head, at, end, false);
    return r < 0 ? r : n;
}

enum http_body http_request_body(const struct http_head *request)
{
    if (request->chunked)
        return HTTP_BODY_CHUNKED;
    return request->has_length && request->length > 0 ? HTTP_BODY_LENGTH : HTTP_BODY_NONE;
}

enum http_body http_response_body(const struct http_head *response, bool to_head)
{
    if (to_head || response->status < 200 || response->status == 204 || response->status == 304)
        return HTTP_BODY_NONE;
    if (response->chunked)
        return HTTP_BODY_CHUNKED;
    if (response->has_coding || !response->has_length)
        return HTTP_BODY_UNTIL_CLOSE;
    return response->length > 0 ? HTTP_BODY_LENGTH : HTTP_BODY_NONE;
}

/* --- Chunks --- */

enum chunk_state {
    CHUNK_SIZE_FIRST, /* the first digit of a size */
    CHUNK_SIZE,
    CHUNK_EXTENSION,
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    CHUNK_LINE_FIRST, /* the first byte of a trailer line, or of the last, empty one */
    CHUNK_TRAILER,
    CHUNK_TRAILER_LF,
    CHUNK_LAST_LF,
};

static int hex_value(uint8_t c)
{
    if (is_digit((char)c))
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One byte of framing. false: malformed. */
static bool chunk_byte(struct http_chunked *chunked, uint8_t c)
{
    int digit;

    switch ((enum chunk_state)chunked->state) {
    case CHUNK_SIZE_FIRST:
        chunked->left = 0;
        chunked->line = 0;
        if (hex_value(c) < 0)
            return false;
        chunked->state = CHUNK_SIZE;
        __attribute__((fallthrough));
    case CHUNK_SIZE:
        digit = hex_value(c);
        if (digit >= 0) {
            if (chunked->left >> 56) /* no overflow, and no size that nobody sends */
                return false;
            chunked->left = chunked->left << 4 | (uint64_t)digit;
            break;
        }
        chunked->state = c == '\r' ? CHUNK_SIZE_LF : CHUNK_EXTENSION;
        return c == '\r' || c == ';' || c == ' ' || c == '\t';
    case CHUNK_EXTENSION:
        if (c == '\r')
            chunked->state = CHUNK_SIZE_LF;
        else if (c == '\n' || c == 0)
            return false;
        break;
    case CHUNK_SIZE_LF:
        chunked->state = chunked->left > 0 ? CHUNK_DATA : CHUNK_LINE_FIRST;
        chunked->line = 0;
        return c == '\n';
    case CHUNK_DATA: /* not framing: http_chunked_step() */
        return false;
    case CHUNK_DATA_CR:
        chunked->state = CHUNK_DATA_LF;
        return c == '\r';
    case CHUNK_DATA_LF:
        chunked->state = CHUNK_SIZE_FIRST;
        return c == '\n';
    case CHUNK_LINE_FIRST:
        chunked->state = c == '\r' ? CHUNK_LAST_LF : CHUNK_TRAILER;
        if (c != '\r' && !is_token_char((char)c))
            return false;
        break;
    case CHUNK_TRAILER:
        if (c == '\r')
            chunked->state = CHUNK_TRAILER_LF;
        else if (c == '\n' || c == 0)
            return false;
        break;
    case CHUNK_TRAILER_LF:
        chunked->state = CHUNK_LINE_FIRST;
        return c == '\n';
    case CHUNK_LAST_LF:
        chunked->done = true;
        return c == '\n';
    }
    uint32_t max =
        chunked->state <= CHUNK_SIZE_LF ? HTTP_CHUNK_LINE_MAX_BYTES : HTTP_TRAILERS_MAX_BYTES;
    return ++chunked->line <= max;
}

ssize_t http_chunked_step(struct http_chunked *chunked, const uint8_t *data, size_t len,
                          size_t *payload)
{
    *payload = 0;
    if (chunked->done || len == 0)
        return 0;
    if (chunked->state == CHUNK_DATA) {
        size_t run = chunked->left < len ? (size_t)chunked->left : len;
        chunked->left -= run;
        if (chunked->left == 0)
            chunked->state = CHUNK_DATA_CR;
        *payload = run;
        return (ssize_t)run;
    }
    size_t i = 0;
    while (i < len && !chunked->done && chunked->state != CHUNK_DATA)
        if (!chunk_byte(chunked, data[i++]))
            return ADIT_EFORMAT;
    return (ssize_t)i;
}

ssize_t http_chunked_feed(struct http_chunked *chunked, const uint8_t *data, size_t len)
{
    size_t at = 0, payload;

    while (at < len && !chunked->done) {
        ssize_t n = http_chunked_step(chunked, data + at, len - at, &payload);
        if (n < 0)
            return n;
        at += (size_t)n;
    }
    return (ssize_t)at;
}

/* --- Where to --- */

int http_authority_parse(struct http_text text, uint16_t default_port, struct target *target)
{
    struct http_text host = text;
    const char *colon;

    if (text.len > 0 && text.at[0] == '[') {
        const char *bracket = memchr(text.at, ']', text.len);
        if (!bracket)
            return ADIT_EFORMAT;
        host.len = (size_t)(bracket + 1 - text.at);
        colon = host.len < text.len ? bracket + 1 : NULL;
        if (colon && *colon != ':')
            return ADIT_EFORMAT;
    } else {
        colon = memchr(text.at, ':', text.len);
        if (colon)
            host.len = (size_t)(colon - text.at);
    }

    unsigned port = 0;
    struct http_text digits = {NULL, 0};
    if (colon)
        digits = (struct http_text){colon + 1, text.len - host.len - 1};
    if (digits.len > 5)
        return ADIT_EFORMAT;
    for (size_t i = 0; i < digits.len; i++) {
        if (!is_digit(digits.at[i]))
            return ADIT_EFORMAT;
        port = port * 10 + (unsigned)(digits.at[i] - '0');
    }
    if (digits.len == 0)
        port = default_port;
    if (port == 0 || port > UINT16_MAX)
        return ADIT_EFORMAT;
    return target_set(target, host.at, host.len, (uint16_t)port) == 0 ? 0 : ADIT_EFORMAT;
}

int http_url_parse(struct http_text text, struct http_url *url)
{
    static const char scheme[] = "http://";
    const char *colon = memchr(text.at, ':', text.len);

    memset(url, 0, sizeof *url);
    if (text.len < sizeof scheme - 1 || strncasecmp(text.at, scheme, sizeof scheme - 1) != 0) {
        struct http_text name = {text.at, colon ? (size_t)(colon - text.at) : 0};
        return is_token(name) && !http_text_is(name, "http") ? -EPROTONOSUPPORT : ADIT_EFORMAT;
    }
    struct http_text rest = {text.at + sizeof scheme - 1, text.len - (sizeof scheme - 1)};
    size_t len = 0;
    while (len < rest.len && rest.at[len] != '/' && rest.at[len] != '?')
        len++;
    url->authority = (struct http_text){rest.at, len};
    url->path = (struct http_text){rest.at + len, rest.len - len};
    return http_authority_parse(url->authority, 80, &url->target);
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (is_digit(c))
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int http_basic_parse(struct http_text text, char out[HTTP_CREDENTIALS_MAX_BYTES], char **user,
                     char **password)
{
    if (text.len < 6 || strncasecmp(text.at, "Basic ", 6) != 0)
        return ADIT_EFORMAT;
    struct http_text code = trim((struct http_text){text.at + 6, text.len - 6});
    while (code.len > 0 && code.at[code.len - 1] == '=')
        code.len--;
    if (code.len / 4 * 3 + 3 > HTTP_CREDENTIALS_MAX_BYTES - 1)
        return ADIT_EFORMAT;

    uint32_t bits = 0;
    size_t len = 0;
    for (size_t i = 0; i < code.len; i++) {
        int value = base64_value(code.at[i]);
        if (value < 0)
            return ADIT_EFORMAT;
        bits = bits << 6 | (uint32_t)value;
        if (i % 4 != 0) /* 8 of the 6, 12, 18, 24 bits so far are a new byte */
            out[len++] = (char)(bits >> (6 - 2 * (i % 4)));
    }
    out[len] = '\0';
    char *colon = memchr(out, ':', len);
    if (!colon || memchr(out, '\0', len))
        return ADIT_EFORMAT;
    *colon = '\0';
    *user = out;
    *password = colon + 1;
    return 0;
}

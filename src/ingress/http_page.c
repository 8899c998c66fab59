/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A page is filled by the function for its occasion and then built into a response. Pages are plain
 * text: people read them in a terminal as often as in a browser, and nothing in them can be taken
 * for markup.
 *
 * The status and the Proxy-Status error of each answer stand in one table, with the remedy.
 */
#include "ingress/http_page.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define DETAILS_MAX_BYTES 400
#define HEAD_MAX_BYTES    (512 + DETAILS_MAX_BYTES)

static const char *reason_of(unsigned status)
{
    switch (status) {
    case 200:
        return "OK";
    case 400:
        return "Bad Request";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 407:
        return "Proxy Authentication Required";
    case 408:
        return "Request Timeout";
    case 431:
        return "Request Header Fields Too Large";
    case 501:
        return "Not Implemented";
    case 502:
        return "Bad Gateway";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    case 505:
        return "HTTP Version Not Supported";
    default:
        return "Error";
    }
}

static const struct {
    unsigned status;
    const char *error, *remedy;
} answers[] = {
    [ANSWER_OK] = {200, NULL, ""},
    [ANSWER_FAILED] = {502, "destination_unavailable",
                       "Try again; the log of the exit may say more."},
    [ANSWER_POLICY] = {403, "destination_ip_prohibited",
                       "The exit's owner can permit it with exit.allow in adit.conf. By default an "
                       "exit connects to public addresses only, and not to port 25."},
    [ANSWER_NET_UNREACHABLE] =
        {502, "destination_ip_unroutable",
         "Check the network of the exit, and that it has this address family."},
    [ANSWER_HOST_UNREACHABLE] =
        {502, "destination_ip_unroutable",
         "Check that the destination is running and can be reached from the "
         "exit."},
    [ANSWER_REFUSED] = {502, "connection_refused",
                        "Check the port, and that the service there is running."},
    [ANSWER_TIMEOUT] = {504, "connection_timeout",
                        "Check that the destination is running, and that no firewall drops the "
                        "connection."},
    [ANSWER_NAME_NOT_FOUND] = {502, "dns_error",
                               "Check the spelling. Names are looked up by the exit, not here."},
    [ANSWER_NAME_FAILED] =
        {502, "dns_error", "Try again; if it stays so, check the exit's resolver (exit.resolver)."},
    [ANSWER_LIMIT] = {503, "connection_limit_reached",
                      "Close some connections, or raise the limits at the exit "
                      "(exit.max_streams_per_peer, session.max_streams)."},
    [ANSWER_NOT_EXIT] = {403, "proxy_configuration_error",
                         "Start the peer with `adit exit', and let it admit this node (`adit peers "
                         "allow')."},
    [ANSWER_NO_PATH] = {503, "destination_unavailable",
                        "Check that the peer is running and reachable; `adit status' says "
                        "more."},
    [ANSWER_PEER_LOST] = {502, "connection_terminated",
                          "Try again: the peer restarted or stopped."},
    [ANSWER_BAD_REQUEST] = {400, "http_request_error", "Check the address."},
    [ANSWER_FAMILY] = {502, "destination_ip_unroutable",
                       "The exit lacks IPv4 or IPv6; use a name that has both kinds of addresses."},
    [ANSWER_IN_USE] = {502, "destination_unavailable", "Choose another address."},
    [ANSWER_NOT_LOCAL] = {502, "destination_unavailable", "Choose another address."},
    [ANSWER_BLOCKED] = {403, "http_request_denied",
                        "See gateway.route in the gateway's adit.conf."},
};
static_assert(sizeof answers / sizeof answers[0] == ANSWER_LAST + 1, "every answer has a page");

/* As a string of structured fields (RFC 8941 3.3.3): printable ASCII, quoted. */
static void format_details(const char *details, char out[DETAILS_MAX_BYTES])
{
    size_t len = (size_t)snprintf(out, DETAILS_MAX_BYTES, "; details=\"");

    for (; *details && len < DETAILS_MAX_BYTES - 4; details++) {
        if (*details == '"' || *details == '\\')
            out[len++] = '\\';
        out[len++] = *details >= ' ' && *details <= '~' ? *details : '?';
    }
    out[len++] = '"';
    out[len] = '\0';
}

struct slice http_page_build(const struct http_page *page, bool close, bool to_head)
{
    size_t text_len = strlen(page->text);
    struct block *block = block_new_sized(HEAD_MAX_BYTES + text_len);
    struct slice slice = {block, block_start(block), 0};
    char details[DETAILS_MAX_BYTES] = "";

    if (page->error && page->details)
        format_details(page->details, details);
    int len = snprintf((char *)slice.data, HEAD_MAX_BYTES,
                       "HTTP/1.1 %u %s\r\n"
                       "Content-Type: %s\r\n"
                       "Content-Length: %zu\r\n"
                       "Cache-Control: no-store\r\n"
                       "%s%s%s%s%s%s\r\n",
                       page->status, reason_of(page->status),
                       page->type ? page->type : "text/plain; charset=utf-8", text_len,
                       page->error ? "Proxy-Status: adit; error=" : "",
                       page->error ? page->error : "", details, page->error ? "\r\n" : "",
                       page->fields ? page->fields : "", close ? "Connection: close\r\n" : "");
    assert(len > 0 && len < HEAD_MAX_BYTES);
    slice.len = (size_t)len;
    if (!to_head) {
        memcpy(slice.data + slice.len, page->text, text_len);
        slice.len += text_len;
    }
    return slice;
}

void http_page_answer(struct http_page *page, enum answer answer, const struct target *target,
                      const char *why)
{
    char name[TARGET_TEXT_MAX];

    if ((unsigned)answer > ANSWER_LAST || answer == ANSWER_OK) /* of a newer exit */
        answer = ANSWER_FAILED;
    *page = (struct http_page){.status = answers[answer].status, .error = answers[answer].error};
    if (page->status == 503)
        page->fields = "Retry-After: 5\r\n";
    page->details = why;
    if (why)
        snprintf(page->text, sizeof page->text,
                 "adit: no connection to %s: %s.\nThe reason: %s%s\n`adit status' on the gateway "
                 "says more.\n",
                 target_format(target, name), answer_text(answer), why,
                 why[0] && why[strlen(why) - 1] == '?' ? "" : ".");
    else
        snprintf(page->text, sizeof page->text, "adit: no connection to %s: %s.\n%s\n",
                 target_format(target, name), answer_text(answer), answers[answer].remedy);
}

void http_page_problem(struct http_page *page, unsigned status, const char *problem)
{
    *page = (struct http_page){.status = status, .error = "http_request_error"};
    snprintf(page->text, sizeof page->text, "adit: this request cannot be served: %s.\n", problem);
}

void http_page_upstream(struct http_page *page, const char *error, const char *problem)
{
    *page = (struct http_page){.status = 502, .error = error};
    snprintf(
        page->text, sizeof page->text,
        "adit: the destination's response cannot be passed on: %s.\nTry again; if it stays so, "
        "the fault is the destination's.\n",
        problem);
}

void http_page_credentials(struct http_page *page)
{
    *page = (struct http_page){
        .status = 407,
        .error = "http_request_denied",
        .fields = "Proxy-Authenticate: Basic realm=\"adit\", charset=\"UTF-8\"\r\n",
    };
    snprintf(
        page->text, sizeof page->text,
        "adit: this proxy wants a user name and a password.\nEnter them in the proxy settings, "
        "or use http://USER:PASSWORD@HOST:PORT as the proxy. The gateway's owner keeps them in "
        "the file that gateway.users_file names.\n");
}

void http_page_help(struct http_page *page, unsigned status, const struct addr *at)
{
    char buf[ADDR_TEXT_MAX];
    const char *here = at && addr_is_set(at) ? addr_format(at, buf) : NULL;

    *page = (struct http_page){.status = status};
    if (!here) {
        snprintf(page->text, sizeof page->text,
                 "adit: this is a proxy, not a web server. It speaks SOCKS4, SOCKS4a, SOCKS5 and "
                 "HTTP on this unix socket.\n");
        return;
    }
    snprintf(page->text, sizeof page->text,
             "adit: this is a proxy, not a web server. To use it:\n\n"
             "  browser:  automatic proxy configuration URL  http://%s/proxy.pac\n"
             "  curl:     curl -x socks5h://%s URL\n"
             "  others:   SOCKS4, SOCKS4a, SOCKS5 and HTTP proxy at %s\n",
             here, here, here);
}

void http_page_pac(struct http_page *page, const struct addr *at)
{
    char buf[ADDR_TEXT_MAX];

    *page = (struct http_page){.status = 200, .type = "application/x-ns-proxy-autoconfig"};
    addr_format(at, buf);
    /* PROXY first: with it no browser looks names up itself. This machine's own servers stay its
     * own; all else fails closed: there is no DIRECT behind the proxy. */
    snprintf(page->text, sizeof page->text,
             "function FindProxyForURL(url, host) {\n"
             "    if (host == \"localhost\" || shExpMatch(host, \"*.localhost\") ||\n"
             "        shExpMatch(host, \"127.*\") || host == \"::1\" || host == \"[::1]\")\n"
             "        return \"DIRECT\";\n"
             "    return \"PROXY %s; SOCKS5 %s\";\n"
             "}\n",
             buf, buf);
}

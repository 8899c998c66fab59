/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: any text as an address and as a target. What is accepted must come back the
 * same when it is written and parsed again, and a name must hold nothing that could break a line, a
 * header or "host:port".
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "base/target.h"

static void check_addr(const char *text)
{
    struct addr addr, back;
    char buf[ADDR_TEXT_MAX];
    if (addr_parse(text, &addr) == 0) {
        if (addr_parse(addr_format(&addr, buf), &back) != 0 || !addr_equal(&addr, &back))
            abort();
        struct sockaddr_storage sa;
        socklen_t len = addr_to_sockaddr(&addr, &sa);
        if (addr_from_sockaddr((struct sockaddr *)&sa, len, &back) != 0 ||
            !addr_equal(&addr, &back))
            abort();
        if (addr_hash(&addr, 1) != addr_hash(&back, 1))
            abort();
    }
    if (addr_parse_ip(text, &addr) == 0 &&
        (addr_parse_ip(addr_format_ip(&addr, buf), &back) != 0 || !addr_equal(&addr, &back)))
        abort();
}

static void check_target(const struct target *target)
{
    struct target back;
    char buf[TARGET_TEXT_MAX];
    if (target->port == 0 || (target->name[0] == '\0') == !addr_is_set(&target->addr))
        abort();
    for (const char *c = target->name; *c; c++)
        if ((unsigned char)*c <= ' ' || *c == ':' || *c == '/' || *c == '@' || *c == 0x7f)
            abort();
    if (target_parse(target_format(target, buf), &back) != 0 || back.port != target->port ||
        strcmp(back.name, target->name) != 0 || !addr_equal_ip(&back.addr, &target->addr))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    struct target target;
    if (!text)
        abort();
    memcpy(text, data, size);
    text[size] = '\0';
    check_addr(text);
    if (target_parse(text, &target) == 0)
        check_target(&target);
    if (target_set(&target, (const char *)data, size, 80) == 0)
        check_target(&target);
    free(text);
    return 0;
}

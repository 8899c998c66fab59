/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: any bytes as the URL of a broker. What is accepted is within its limits,
 * holds nothing that could break a request line, and its name is a URL of the same place.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/broker_url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct broker_url url, back;
    char name[BROKER_NAME_BYTES];
    const char *why = "";

    if (broker_url_parse(data, size, &url, &why) < 0) {
        if (!why)
            abort();
        return 0;
    }
    if (why || url.at.port == 0 || strlen(url.path) > BROKER_PATH_MAX ||
        strlen(url.user) > BROKER_USER_MAX || strlen(url.password) > BROKER_PASSWORD_MAX ||
        (url.has_password && !url.has_user) || (url.has_user && !url.user[0]))
        abort();
    for (const char *c = url.path; *c; c++)
        if (*c <= ' ' || *c >= 0x7f)
            abort();
    if (url.path[0] && (url.path[0] != '/' || !broker_url_is_websocket(&url)))
        abort();
    broker_url_name(&url, name);
    if (broker_url_parse((const uint8_t *)name, strlen(name), &back, NULL) < 0 ||
        back.scheme != url.scheme || back.at.port != url.at.port || back.has_user ||
        strcmp(back.at.name, url.at.name) != 0 || !addr_equal_ip(&back.at.addr, &url.at.addr))
        abort();
    return 0;
}

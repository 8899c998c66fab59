/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: the input as a ticket's text, and as the bytes inside one, which the
 * checksum would keep a fuzzer from. What parses is written and read again, and must be the same.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config/ticket.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void there_and_back(const struct ticket *ticket)
{
    static char text[TICKET_TEXT_MAX + 1];
    static struct ticket again;
    int len = ticket_format(ticket, text, sizeof text);

    if (len == -ENOSPC) /* a payload longer than a text has room for */
        return;
    if (len < 0 || (size_t)len != strlen(text) ||
        ticket_parse(text, (size_t)len, &again) != TICKET_OK ||
        memcmp(ticket, &again, sizeof again) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct ticket ticket;

    if (ticket_parse((const char *)data, size, &ticket) == TICKET_OK)
        there_and_back(&ticket);
    if (ticket_parse_payload(data, size, &ticket) == TICKET_OK)
        there_and_back(&ticket);
    return 0;
}

/* SPDX-License-Identifier: MIT */
/* Theory of operation: a server's URI that is taken is written and read again the same. */
#include <stdlib.h>
#include <string.h>

#include "stun/server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct stun_server server, again;
    char *text = malloc(size + 1), written[SERVER_TEXT_MAX];
    const char *why = NULL;

    if (!text)
        abort();
    memcpy(text, data, size);
    text[size] = '\0';
    if (server_parse(text, &server, &why) != 0) {
        if (!why)
            abort();
    } else if (server_parse(server_format(&server, written), &again, NULL) != 0 ||
               memcmp(&server, &again, sizeof(server)) != 0) {
        abort();
    }
    free(text);
    return 0;
}

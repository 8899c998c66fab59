/* SPDX-License-Identifier: MIT */
/* Theory of operation: any text is a hosts file; every record that comes out of it is found under
 * its name. */
#include <stdint.h>
#include <stdlib.h>

#include "egress/hosts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hosts hosts;
    if (hosts_parse((const char *)data, size, &hosts) != 0)
        return 0;
    for (size_t i = 0; i < hosts.count; i++) {
        size_t count;
        const struct hosts_record *first = hosts_find(&hosts, hosts.records[i].name, &count);
        if (!first || &hosts.records[i] < first || &hosts.records[i] >= first + count)
            abort();
    }
    hosts_clear(&hosts);
    return 0;
}

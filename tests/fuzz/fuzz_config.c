/* SPDX-License-Identifier: MIT */
/*
 * Configuration files, and by the same bytes `-o` options (inputs that begin with '-') and rules:
 * never a crash, and what was accepted as a rule comes back the same.
 */
#include <stdlib.h>
#include <string.h>

#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void rule_round_trip(const char *text)
{
    struct rule rule, again;
    char buf[RULE_TEXT_MAX], buf2[RULE_TEXT_MAX];

    if (rule_parse(text, &rule) != 0)
        return;
    rule_format(&rule, buf);
    if (rule_parse(buf, &again) != 0 || strcmp(buf, rule_format(&again, buf2)) != 0)
        abort();
    rule_match(&rule, "www.example.org", &rule.net, 443);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config *config = config_new();

    if (config == NULL)
        return 0;
    config_parse(config, (const char *)data, size, "fuzz");
    char *text = malloc(size + 1);
    if (text != NULL) {
        memcpy(text, data, size);
        text[size] = '\0';
        if (text[0] == '-')
            config_set(config, text + 1);
        rule_round_trip(text);
    }
    config_finish(config);
    free(text);
    config_free(config);
    return 0;
}

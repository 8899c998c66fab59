/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * `adit ping`: the running node probes; this prints what it tells, a line for each path and round.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "config/config_int.h"

static void event_print_json(const json_t *event)
{
    char *text = json_dumps(event, JSON_COMPACT | JSON_REAL_PRECISION(12));

    printf("%s\n", text != NULL ? text : "");
    free(text);
}

static void event_print(void *arg, const json_t *event)
{
    struct cli *cli = arg;
    const json_t *results = json_object_get(event, "results"), *result;
    long long seq = json_integer_value(json_object_get(event, "seq"));
    size_t index;

    if (cli_has(cli, "json")) {
        event_print_json(event);
    } else if (json_array_size(results) == 0) {
        printf("%lld: no path: %s\n", seq, json_string_value(json_object_get(event, "why")));
    } else {
        json_array_foreach(results, index, result)
        {
            const json_t *rtt = json_object_get(result, "rtt_ms");
            printf("%lld: %s %s ", seq, json_string_value(json_object_get(result, "path")),
                   json_string_value(json_object_get(result, "remote")));
            if (json_is_number(rtt))
                printf("%.3f ms", json_number_value(rtt));
            else
                printf("no answer");
            printf("%s\n", json_is_true(json_object_get(result, "active")) ? "  (active)" : "");
        }
    }
    fflush(stdout);
}

/* An option's duration in milliseconds. 0 or CLI_USAGE, told. */
static int duration_of(const struct cli *cli, const char *option, uint32_t fallback, uint32_t *ms)
{
    const char *text = cli_value(cli, option);
    uint64_t us;

    *ms = fallback;
    if (text == NULL)
        return 0;
    if (value_parse_duration(text, &us) != 0 || us < 1000 || us > 600 * SEC_US) {
        cli_complain("--%s %.60s: no duration from 1ms to 10m", option, text);
        return CLI_USAGE;
    }
    *ms = (uint32_t)(us / 1000);
    return 0;
}

static int ping_ask(struct cli *cli, json_t *args, uint32_t silence_ms)
{
    json_t *result =
        cli_ask(cli,
                &(struct cli_request){
                    .verb = "ping", .args = args, .event = event_print, .silence_ms = silence_ms},
                NULL);
    bool good = cli_has(cli, "until-direct")
                    ? json_is_true(json_object_get(result, "direct"))
                    : json_integer_value(json_object_get(result, "answered")) > 0;

    json_decref(result);
    return good ? CLI_OK : CLI_FAILURE;
}

int ping_run(struct cli *cli)
{
    const char *count_text = cli_value(cli, "count");
    bool until_direct = cli_has(cli, "until-direct");
    uint64_t count = until_direct ? 0 : 3;
    uint32_t interval_ms, timeout_ms;
    int code = duration_of(cli, "interval", 1000, &interval_ms);

    if (code == 0)
        code = duration_of(cli, "timeout", 5000, &timeout_ms);
    if (code == 0 && count_text != NULL &&
        (value_parse_number(count_text, &count) != 0 || count > 1000000)) {
        cli_complain("--count %.60s: not a number up to 1000000", count_text);
        code = CLI_USAGE;
    }
    if (code == 0)
        code = cli_prepare(cli);
    if (code != 0)
        return code;
    json_t *args = json_pack("{s:s, s:I, s:I, s:I, s:b}", "peer", cli->args[0], "count",
                             (json_int_t)count, "interval_ms", (json_int_t)interval_ms,
                             "timeout_ms", (json_int_t)timeout_ms, "until_direct", until_direct);
    if (args == NULL) {
        cli_complain("'%.60s' is no peer's name", cli->args[0]);
        return CLI_USAGE;
    }
    /* A first round may have to find a path before it can probe. */
    return ping_ask(cli, args, interval_ms + 2 * timeout_ms + 30000);
}

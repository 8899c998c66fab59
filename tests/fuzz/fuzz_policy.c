/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Input: lines. "+RULE" allows, "-RULE" denies, any other line is a destination (HOST:PORT), which
 * is judged under the rules so far. Whatever the rules: no verdict but those of the enum; nothing
 * that a deny rule covers is allowed; without allow rules nothing is allowed that is not public.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/target.h"
#include "egress/policy.h"

struct state {
    struct policy *policy;
    struct rule denied[64];
    size_t denied_count, allowed_count;
};

static void judge(struct state *state, const char *line)
{
    struct target target;
    if (target_parse(line, &target) != 0)
        return;
    const char *name = target.name[0] ? target.name : NULL;
    struct addr to = name ? addr_loopback(AF_INET, target.port) : target.addr;
    enum policy_verdict verdict = policy_check(state->policy, POLICY_TCP, &to, name);
    if (verdict > POLICY_VERDICT_LAST || !policy_verdict_text(verdict))
        abort();
    if (name && policy_check_name(state->policy, name, target.port) == POLICY_DENIED &&
        verdict == POLICY_ALLOWED)
        abort();
    if (verdict != POLICY_ALLOWED)
        return;
    struct addr form = addr_unmap(&to);
    for (size_t i = 0; i < state->denied_count; i++)
        if (rule_match(&state->denied[i], name, &form, to.port))
            abort();
    if (state->allowed_count == 0 && (!policy_is_public(&to) || to.port == 25))
        abort();
}

static void use_line(struct state *state, char *line)
{
    struct rule rule;
    if (line[0] != '+' && line[0] != '-') {
        judge(state, line);
    } else if (rule_parse(line + 1, &rule) == 0) {
        if (line[0] == '+')
            state->allowed_count += policy_allow(state->policy, &rule) == 0;
        else if (state->denied_count < 64 && policy_deny(state->policy, &rule) == 0)
            state->denied[state->denied_count++] = rule;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct state state = {.policy = policy_new()};
    char *text = malloc(size + 1);
    if (!state.policy || !text)
        abort();
    memcpy(text, data, size);
    text[size] = '\0';
    for (char *line = text, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        use_line(&state, line);
    }
    free(text);
    policy_free(state.policy);
    return 0;
}

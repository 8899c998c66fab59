/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A request without credentials, with a FINGERPRINT, since the socket may carry other things; no
 * SOFTWARE: nobody needs to know. MAPPED-ADDRESS is taken where an old server has nothing better.
 */
#include "stun/binding.h"

#include <stdio.h>

#include "stun/integrity.h"
#include "stun/words.h"

static void on_done(void *arg, const struct transaction_result *result)
{
    struct binding *binding = arg;
    struct binding_answer answer = {
        .outcome = BINDING_NONSENSE, .from = result->from, .rtt_us = result->rtt_us};

    binding->transaction = NULL;
    switch (result->outcome) {
    case TRANSACTION_SUCCESS:
        if (stun_read_mapped(result->message, &answer.mapped) == 0)
            answer.outcome = BINDING_MAPPED;
        if (stun_read_address(stun_find(result->message, STUN_ATTR_OTHER_ADDRESS), &answer.other) !=
            0)
            answer.other = (struct addr){0};
        break;
    case TRANSACTION_ERROR:
        answer.outcome = BINDING_REFUSED;
        answer.error = result->error.code;
        break;
    case TRANSACTION_TIMEOUT:
    case TRANSACTION_VIOLATED:
    case TRANSACTION_UNSENT:
        answer.outcome = BINDING_SILENT;
        break;
    case TRANSACTION_BAD:
        break;
    }
    binding->done(binding->arg, &answer);
}

int binding_ask(struct binding *binding, struct loop *loop, struct transaction_table *table,
                const struct addr *to, unsigned change,
                void (*done)(void *arg, const struct binding_answer *answer), void *arg)
{
    uint8_t bytes[BINDING_REQUEST_BYTES];
    struct stun_id id = transaction_new_id(loop);
    struct transaction_request request = {
        .bytes = bytes, .any_source = change != 0, .done = on_done, .arg = binding};
    struct stun_builder builder;
    int len;

    stun_build(&builder, bytes, sizeof(bytes), STUN_METHOD_BINDING, STUN_REQUEST, &id);
    if (change)
        stun_put_u32(&builder, STUN_ATTR_CHANGE_REQUEST, change);
    stun_put_fingerprint(&builder);
    len = stun_built(&builder);
    if (len < 0)
        return len;
    request.len = (size_t)len;
    if (to)
        request.to = *to;
    binding->done = done;
    binding->arg = arg;
    binding->transaction = transaction_start(table, &request);
    return binding->transaction ? 0 : -errno;
}

void binding_cancel(struct binding *binding)
{
    if (binding->transaction)
        transaction_cancel(binding->transaction);
    binding->transaction = NULL;
}

const char *binding_text(const struct binding_answer *answer, char buf[BINDING_TEXT_MAX])
{
    char addr[ADDR_TEXT_MAX];
    const char *phrase;

    switch (answer->outcome) {
    case BINDING_MAPPED:
        snprintf(buf, BINDING_TEXT_MAX, "our packets come from %s",
                 addr_format(&answer->mapped, addr));
        break;
    case BINDING_SILENT:
        snprintf(buf, BINDING_TEXT_MAX, "the server did not answer");
        break;
    case BINDING_REFUSED:
        phrase = words_error(answer->error);
        snprintf(buf, BINDING_TEXT_MAX, "the server refused: %u %s", answer->error,
                 phrase ? phrase : "");
        break;
    case BINDING_NONSENSE:
        snprintf(buf, BINDING_TEXT_MAX, "the server's answer has no address of ours");
        break;
    }
    return buf;
}

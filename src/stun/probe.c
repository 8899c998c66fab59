/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A prober is one local port. Over UDP it is one socket that is not connected, so that it may ask
 * many addresses and hear answers from anywhere. Over TCP each question is a connection of its own
 * from the same port (SO_REUSEADDR and SO_REUSEPORT), which the system allows as long as they lead
 * to different addresses; the connections stay open, so that their mappings do.
 */
#include <stdlib.h>
#include <unistd.h>

#include "pipe/udp.h"
#include "stun/behaviour_int.h"

struct prober {
    struct loop *loop;
    enum server_transport protocol;
    int family;
    struct pipe_options options;
    struct transaction_timing timing;
    struct pipe *udp; /* NULL: TCP, or it could not be made */
    struct transaction_table *table;
    struct addr local; /* TCP: the port of the first connection */
};

/* --- UDP --- */

static int on_send(void *owner, const uint8_t *bytes, size_t len, const struct addr *to)
{
    struct prober *prober = owner;
    struct slice slice;

    if (!prober->udp)
        return ADIT_ECLOSED;
    slice = slice_copy(bytes, len);
    return pipe_write_to(prober->udp, &slice, to);
}

static void on_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                       void *arg)
{
    struct prober *prober = arg;
    struct stun_message message;

    (void)pipe;
    if (stun_parse_datagram(data->data, data->len, &message) == 0)
        transaction_receive(prober->table, &message, from);
}

static void on_end(struct pipe *pipe, int why, void *arg)
{
    struct prober *prober = arg;

    (void)pipe;
    (void)why;
    prober->udp = NULL; /* what is asked times out */
}

static const struct pipe_events udp_events = {.message = on_message, .end = on_end};

/* --- TCP --- */

/* Several sockets may be bound to a port when all of them agree to share it. One that the system
 * picks must be known before it is used twice: a socket is bound to look. Where that fails, each
 * connection has a port of its own, and the NAT looks as if it were endpoint-dependent, which is
 * the safe side. */
static void pick_port(struct prober *prober)
{
    uint32_t limit_ms = (uint32_t)(prober->timing.ti_us / MS_US);
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    struct addr got;
    int fd;

    if (prober->options.connect_timeout_ms == 0 || prober->options.connect_timeout_ms > limit_ms)
        prober->options.connect_timeout_ms = limit_ms;
    prober->options.reuse_addr = prober->options.reuse_port = true;
    if (!addr_is_set(&prober->options.local))
        prober->options.local = addr_any(prober->family, 0);
    prober->local = prober->options.local;
    if (prober->local.port != 0)
        return;
    fd = socket(prober->family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    len = addr_to_sockaddr(&prober->local, &sa);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &(int){1}, sizeof(int));
    if (bind(fd, (struct sockaddr *)&sa, len) == 0 &&
        (len = sizeof(sa), getsockname(fd, (struct sockaddr *)&sa, &len)) == 0 &&
        addr_from_sockaddr((struct sockaddr *)&sa, len, &got) == 0)
        prober->options.local.port = prober->local.port = got.port;
    close(fd);
}

static void on_client(struct stun_client *client, const struct stun_client_result *result,
                      void *arg)
{
    struct probe *probe = arg;
    struct binding_answer answer = {.outcome = BINDING_SILENT,
                                    .mapped = result->mapped,
                                    .from = result->server,
                                    .other = result->other,
                                    .rtt_us = result->rtt_us};

    (void)client; /* it stays, so that its mapping does */
    if (addr_is_set(&result->local))
        probe->prober->local = result->local;
    if (result->outcome == STUN_CLIENT_MAPPED)
        answer.outcome = BINDING_MAPPED;
    else if (result->outcome == STUN_CLIENT_REFUSED)
        answer.outcome = BINDING_REFUSED;
    else if (result->outcome == STUN_CLIENT_NONSENSE)
        answer.outcome = BINDING_NONSENSE;
    if (!probe->done)
        return; /* it had answered; the connection has ended */
    void (*done)(void *, const struct binding_answer *) = probe->done;
    probe->done = NULL;
    done(probe->arg, &answer);
}

/* --- Both --- */

struct prober *prober_new(struct loop *loop, enum server_transport protocol, int family,
                          const struct pipe_options *pipe, const struct transaction_timing *timing)
{
    struct prober *prober = calloc(1, sizeof(*prober));
    struct addr any = addr_any(family, 0);

    if (!prober)
        return NULL;
    prober->loop = loop;
    prober->protocol = protocol;
    prober->family = family;
    prober->options = *pipe;
    prober->timing = *timing;
    if (protocol != SERVER_UDP) {
        pick_port(prober);
        return prober;
    }
    if (addr_is_set(&pipe->local))
        any = pipe->local;
    prober->options.v6only = true;
    prober->table = transaction_table_new(loop, false, timing, on_send, prober);
    if (!prober->table) {
        free(prober);
        return NULL;
    }
    prober->udp = udp_listen(loop, &any, &prober->options);
    if (prober->udp)
        pipe_add_listener(prober->udp, &udp_events, prober);
    return prober;
}

void prober_free(struct prober *prober)
{
    if (!prober)
        return;
    transaction_table_free(prober->table);
    if (prober->udp) {
        pipe_del_listener(prober->udp, &udp_events, prober);
        pipe_close(prober->udp);
    }
    free(prober);
}

static void on_failed(void *arg)
{
    struct probe *probe = arg;
    struct binding_answer answer = {.outcome = BINDING_SILENT};

    probe->done(probe->arg, &answer);
}

void prober_ask(struct prober *prober, struct probe *probe, const struct addr *to, unsigned change,
                void (*done)(void *arg, const struct binding_answer *answer), void *arg)
{
    struct stun_client_options options = {.leg = {.pipe = prober->options, .address = *to},
                                          .timing = prober->timing};
    struct stun_server server = {.transport = prober->protocol, .host = "-", .port = to->port};

    probe->prober = prober;
    probe->done = done;
    probe->arg = arg;
    defer_init(&probe->failed, on_failed, probe);
    if (prober->protocol != SERVER_UDP)
        probe->client = stun_client_new(prober->loop, &server, &options, on_client, probe);
    else if (prober->udp &&
             binding_ask(&probe->binding, prober->loop, prober->table, to, change, done, arg) == 0)
        return;
    if (!probe->client)
        defer_soon(prober->loop, &probe->failed);
}

void probe_cancel(struct probe *probe)
{
    if (!probe->prober)
        return;
    binding_cancel(&probe->binding);
    stun_client_free(probe->client);
    probe->client = NULL;
    defer_cancel(probe->prober->loop, &probe->failed);
}

/* The address that the system would use towards `to`: a socket that is not bound to one does not
 * know. */
struct addr prober_local(const struct prober *prober, const struct addr *to)
{
    struct addr local = prober->local, way;
    struct pipe *pipe;

    if (prober->udp)
        pipe_addrs(prober->udp, &local, NULL);
    if (!addr_is_set(&local) || !addr_is_any(&local))
        return local;
    struct pipe_options options = prober->options;
    options.local = (struct addr){0};
    pipe = udp_open(prober->loop, to, &options);
    if (pipe && pipe_addrs(pipe, &way, NULL) == 0) {
        way.port = local.port;
        local = way;
    }
    if (pipe)
        pipe_close(pipe);
    return local;
}

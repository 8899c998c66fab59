/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * lwIP as this tree builds it, in memory and in virtual time: two netifs whose packets arrive at
 * each other after a delay, a TCP connection between them that carries a mebibyte each way and is
 * closed from both ends. Over IPv4 and IPv6, and once with packets lost.
 *
 * Each end writes and checks a stream of bytes that depends on the end and the offset, so a byte
 * lost, repeated, out of order or sent back to its sender shows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lwip/netif.h"
#include "lwip/pbuf.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/tcp.h"
#include "lwip_port.h"

enum {
    TRANSFER_BYTES = 1 << 20,
    CHUNK_BYTES = 16 * 1024,
    WIRE_PACKETS_MAX = 8192,
    WIRE_DELAY_US = 5000,
    MTU_BYTES = 1400,
    PORT = 7,
    LOSS_ONE_IN = 50,
};
#define TIME_LIMIT_US (UINT64_C(600) * 1000 * 1000)

/* A packet on its way to the netif at the other end. */
struct packet {
    uint64_t due;
    struct netif *to;
    struct pbuf *p;
};

/* One end of the connection under test. */
struct end {
    struct world *world;
    uint8_t salt;
    struct tcp_pcb *pcb;
    uint32_t written;
    uint32_t received;
    bool closed;       /* we sent our FIN */
    bool peer_closed;  /* we saw the peer's */
};

struct world {
    uint64_t now;
    struct netif netif[2];
    struct packet wire[WIRE_PACKETS_MAX]; /* ring: the delay is the same for all */
    unsigned wire_first, wire_count;
    unsigned lose_one_in, sent, lost;
    struct end client, server;
};

/* lwIP's clock never goes back: the next test goes on from where the last one ended. */
static uint64_t world_clock = 1000000;

static uint8_t byte_at(uint8_t salt, uint32_t offset)
{
    return (uint8_t)(offset * 31 + (offset >> 8) * 7 + (offset >> 16) + salt);
}

/* ---- the wire ------------------------------------------------------------------------------- */

static err_t wire_send(struct netif *from, struct pbuf *p)
{
    struct world *w = from->state;
    w->sent++;
    if (w->lose_one_in && w->sent % w->lose_one_in == 0) {
        w->lost++;
        return ERR_OK;
    }
    assert_true(w->wire_count < WIRE_PACKETS_MAX);
    assert_true(p->tot_len <= MTU_BYTES);
    struct pbuf *copy = pbuf_clone(PBUF_RAW, PBUF_RAM, p);
    assert_non_null(copy);
    unsigned slot = (w->wire_first + w->wire_count++) % WIRE_PACKETS_MAX;
    w->wire[slot] = (struct packet){
        .due = w->now + WIRE_DELAY_US,
        .to = from == &w->netif[0] ? &w->netif[1] : &w->netif[0],
        .p = copy,
    };
    return ERR_OK;
}

static err_t wire_send_ip4(struct netif *from, struct pbuf *p, const ip4_addr_t *to)
{
    (void)to;
    return wire_send(from, p);
}

static err_t wire_send_ip6(struct netif *from, struct pbuf *p, const ip6_addr_t *to)
{
    (void)to;
    return wire_send(from, p);
}

static err_t netif_start(struct netif *netif)
{
    netif->name[0] = 'm';
    netif->name[1] = 'e';
    netif->mtu = MTU_BYTES;
    netif->output = wire_send_ip4;
    netif->output_ip6 = wire_send_ip6;
    return ERR_OK;
}

static void wire_deliver_due(struct world *w)
{
    while (w->wire_count > 0 && w->wire[w->wire_first].due <= w->now) {
        struct packet packet = w->wire[w->wire_first];
        w->wire_first = (w->wire_first + 1) % WIRE_PACKETS_MAX;
        w->wire_count--;
        if (packet.to->input(packet.p, packet.to) != ERR_OK)
            pbuf_free(packet.p);
    }
}

/* Moves the clock to whatever happens next: a packet's arrival, or a timer of lwIP. */
static void world_step(struct world *w)
{
    uint64_t timer = lwip_port_next_timer();
    uint64_t next = timer == UINT64_MAX ? UINT64_MAX : w->now + timer;
    if (w->wire_count > 0 && w->wire[w->wire_first].due < next)
        next = w->wire[w->wire_first].due;
    assert_true(next != UINT64_MAX);
    if (next > w->now)
        w->now = next;
    lwip_port_advance(w->now);
    wire_deliver_due(w);
}

/* ---- the connection ------------------------------------------------------------------------- */

static void end_write(struct end *e)
{
    uint8_t chunk[CHUNK_BYTES];
    while (e->written < TRANSFER_BYTES) {
        uint32_t n = LWIP_MIN(CHUNK_BYTES, tcp_sndbuf(e->pcb));
        n = LWIP_MIN(n, TRANSFER_BYTES - e->written);
        if (n == 0)
            return;
        for (uint32_t i = 0; i < n; i++)
            chunk[i] = byte_at(e->salt, e->written + i);
        if (tcp_write(e->pcb, chunk, (u16_t)n, TCP_WRITE_FLAG_COPY) != ERR_OK)
            return;
        e->written += n;
    }
    if (!e->closed && tcp_shutdown(e->pcb, 0, 1) == ERR_OK)
        e->closed = true;
}

static err_t end_sent(void *arg, struct tcp_pcb *pcb, u16_t len)
{
    (void)pcb, (void)len;
    end_write(arg);
    return ERR_OK;
}

static err_t end_receive(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err)
{
    struct end *e = arg;
    struct end *other = e == &e->world->client ? &e->world->server : &e->world->client;
    assert_int_equal(err, ERR_OK);
    if (!p) {
        e->peer_closed = true;
        return ERR_OK;
    }
    for (struct pbuf *q = p; q; q = q->next) {
        const uint8_t *data = q->payload;
        for (unsigned i = 0; i < q->len; i++) {
            if (data[i] != byte_at(other->salt, e->received))
                fail_msg("wrong byte at offset %u", (unsigned)e->received);
            e->received++;
        }
    }
    tcp_recved(pcb, p->tot_len);
    pbuf_free(p);
    return ERR_OK;
}

static void end_fail(void *arg, err_t err)
{
    struct end *e = arg;
    e->pcb = NULL;
    fail_msg("connection failed: %d", err);
}

static void end_adopt(struct end *e, struct tcp_pcb *pcb)
{
    e->pcb = pcb;
    tcp_arg(pcb, e);
    tcp_recv(pcb, end_receive);
    tcp_sent(pcb, end_sent);
    tcp_err(pcb, end_fail);
}

static err_t server_accept(void *arg, struct tcp_pcb *pcb, err_t err)
{
    struct world *w = arg;
    assert_int_equal(err, ERR_OK);
    assert_null(w->server.pcb);
    end_adopt(&w->server, pcb);
    end_write(&w->server);
    return ERR_OK;
}

static err_t client_connected(void *arg, struct tcp_pcb *pcb, err_t err)
{
    (void)pcb;
    assert_int_equal(err, ERR_OK);
    end_write(arg);
    return ERR_OK;
}

static bool end_is_done(const struct end *e)
{
    return e->received == TRANSFER_BYTES && e->written == TRANSFER_BYTES && e->closed &&
           e->peer_closed;
}

static unsigned count_active(void)
{
    unsigned n = 0;
    for (const struct tcp_pcb *pcb = tcp_active_pcbs; pcb; pcb = pcb->next)
        n++;
    return n;
}

static void add_netifs(struct world *w)
{
    ip4_addr_t mask;
    IP4_ADDR(&mask, 255, 255, 255, 255);
    for (unsigned i = 0; i < 2; i++) {
        ip4_addr_t address;
        IP4_ADDR(&address, 198, 18, 0, 1 + i);
        struct netif *netif = &w->netif[i];
        assert_non_null(netif_add(netif, &address, &mask, NULL, w, netif_start, ip_input));
        ip6_addr_t address6;
        IP6_ADDR(&address6, lwip_htonl(0xfd000000), 0, 0, lwip_htonl(1 + i));
        netif_ip6_addr_set(netif, 0, &address6);
        netif_ip6_addr_set_state(netif, 0, IP6_ADDR_PREFERRED);
        netif_set_link_up(netif);
        netif_set_up(netif);
    }
}

static void transfer(bool ipv6, unsigned lose_one_in)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->now = world_clock;
    w->client = (struct end){.world = w, .salt = 1};
    w->server = (struct end){.world = w, .salt = 100};
    assert_int_equal(lwip_port_init(w->now), 0);
    add_netifs(w);
    w->lose_one_in = lose_one_in;

    u8_t type = ipv6 ? IPADDR_TYPE_V6 : IPADDR_TYPE_V4;
    const ip_addr_t *address[2];
    for (unsigned i = 0; i < 2; i++)
        address[i] = ipv6 ? netif_ip_addr6(&w->netif[i], 0) : netif_ip_addr4(&w->netif[i]);

    struct tcp_pcb *listener = tcp_new_ip_type(type);
    assert_non_null(listener);
    assert_int_equal(tcp_bind(listener, address[1], PORT), ERR_OK);
    tcp_bind_netif(listener, &w->netif[1]);
    listener = tcp_listen_with_backlog(listener, 255);
    assert_non_null(listener);
    tcp_arg(listener, w);
    tcp_accept(listener, server_accept);

    struct tcp_pcb *client = tcp_new_ip_type(type);
    assert_non_null(client);
    end_adopt(&w->client, client);
    assert_int_equal(tcp_bind(client, address[0], 0), ERR_OK);
    tcp_bind_netif(client, &w->netif[0]);
    assert_int_equal(tcp_connect(client, address[1], PORT, client_connected), ERR_OK);

    uint64_t limit = w->now + TIME_LIMIT_US;
    while (!end_is_done(&w->client) || !end_is_done(&w->server)) {
        world_step(w);
        assert_true(w->now < limit);
    }
    /* Both FINs are acknowledged: no connection is left but the one in TIME_WAIT. */
    tcp_err(w->client.pcb, NULL);
    tcp_err(w->server.pcb, NULL);
    tcp_close(w->client.pcb);
    tcp_close(w->server.pcb);
    while (count_active() > 0) {
        world_step(w);
        assert_true(w->now < limit);
    }
    if (lose_one_in)
        assert_true(w->lost > TRANSFER_BYTES / MTU_BYTES / LOSS_ONE_IN);

    assert_int_equal(tcp_close(listener), ERR_OK);
    while (tcp_tw_pcbs)
        world_step(w);
    while (w->wire_count > 0)
        world_step(w);
    for (unsigned i = 0; i < 2; i++)
        netif_remove(&w->netif[i]);
    world_clock = w->now;
    free(w);
}

static void test_transfer_over_ipv4(void **state)
{
    (void)state;
    transfer(false, 0);
}

static void test_transfer_over_ipv6(void **state)
{
    (void)state;
    transfer(true, 0);
}

static void test_transfer_survives_loss(void **state)
{
    (void)state;
    transfer(false, LOSS_ONE_IN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transfer_over_ipv4),
        cmocka_unit_test(test_transfer_over_ipv6),
        cmocka_unit_test(test_transfer_survives_loss),
    };
    return cmocka_run_group_tests_name("lwip", tests, NULL, NULL);
}

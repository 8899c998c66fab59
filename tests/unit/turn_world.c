/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: one loop, a pair of pipes for each leg. A request is checked as RFC
 * 8489 9.2.4 says, then as RFC 8656 says for its method; the answer goes through the misbehaviour
 * that the test has asked for.
 */
#include "turn_world.h"

#include "crypto/hash.h"
#include "pipe/pair.h"
#include "stun/bytes.h"
#include "stun/channel.h"
#include "stun/integrity.h"

void world_init(struct world *world, uint64_t seed)
{
    memset(world, 0, sizeof(*world));
    world->loop = loop_new_virtual(seed);
    world->next_port = 50000;
    world->delay_us = 10 * MS_US;
    world->lifetime_s = 600;
    world->permission_s = 300;
    world->channel_s = 600;
    world->nonce_s = 600;
    loop_lose(world->loop, 10 * SEC_US); /* time does not begin at 0 */
}

void world_free(struct world *world)
{
    for (int i = 0; i < WORLD_CLIENTS; i++)
        if (world->clients[i].pipe)
            pipe_abort(world->clients[i].pipe, -ECONNRESET);
    for (int i = 0; i < 10; i++)
        loop_turn(world->loop, SEC_US);
    loop_free(world->loop);
    assert_int_equal(block_total_bytes(), 0);
}

static uint64_t now(const struct world *world)
{
    return loop_now(world->loop);
}

static bool chance(struct world *world, unsigned percent)
{
    return percent && loop_random64(world->loop) % 100 < percent;
}

/* --- Out --- */

/* Bytes that are late. */
struct late {
    struct timer timer;
    struct world_client *client;
    struct pipe *pipe;
    size_t len;
    uint8_t bytes[];
};

static void on_late(void *arg)
{
    struct late *late = arg;

    if (late->client->pipe == late->pipe)
        pipe_write_copy(late->pipe, late->bytes, late->len);
    free(late);
}

static void send_late(struct world_client *client, const uint8_t *bytes, size_t len)
{
    struct late *late = malloc(sizeof(*late) + len);

    assert_non_null(late);
    timer_init(&late->timer, on_late, late);
    late->client = client;
    late->pipe = client->pipe;
    late->len = len;
    memcpy(late->bytes, bytes, len);
    timer_set_in(client->world->loop, &late->timer, client->world->late_us);
}

static void send_bytes(struct world_client *client, const uint8_t *bytes, size_t len)
{
    size_t step = client->is_stream && client->world->split ? 1 : len;

    if (!client->pipe || client->deaf ||
        (!client->is_stream && chance(client->world, client->world->loss)))
        return;
    if (client->world->late_us && !client->is_stream) {
        send_late(client, bytes, len);
        return;
    }
    for (size_t at = 0; at < len; at += step)
        pipe_write_copy(client->pipe, bytes + at, step);
}

/* A response, as badly as the test wants it. */
static void respond(struct world_client *client, const uint8_t *bytes, size_t len)
{
    struct world *world = client->world;
    uint8_t bad[600];

    if (world->garbage && !client->is_stream) {
        loop_random(world->loop, bad, 100);
        send_bytes(client, bad, 100);
        bad[0] = 1; /* as if it were a message */
        send_bytes(client, bad, 100);
        bad[0] = 0x47; /* a channel nobody has */
        send_bytes(client, bad, 100);
        send_bytes(client, bytes, len / 2);
    }
    if (world->forged && len < sizeof(bad) && len > 40 && !client->is_stream) {
        memcpy(bad, bytes, len);
        bad[len - 1] ^= 1; /* the integrity, if there is one */
        send_bytes(client, bad, len);
        loop_random(world->loop, bad + 8, STUN_ID_BYTES); /* to a request that nobody made */
        send_bytes(client, bad, len);
    }
    send_bytes(client, bytes, len);
    if (world->twice)
        send_bytes(client, bytes, len);
}

static void put_nonce(struct world_client *client, struct stun_builder *builder)
{
    struct world *world = client->world;
    char text[64];

    if (now(world) >= client->nonce_until) {
        client->nonce++;
        client->nonce_until = now(world) + world->nonce_s * SEC_US;
    }
    snprintf(text, sizeof(text), "%s%u-%u",
             world->plain_nonces                 ? "nonce"
             : world->sha256 && world->anonymity ? "obMatJos2wAAA"
             : world->sha256                     ? "obMatJos2gAAA"
             : world->anonymity                  ? "obMatJos2QAAA"
                                                 : "nonce",
             client->nonce, client->addr.port);
    stun_put_text(builder, STUN_ATTR_NONCE, text);
    stun_put_text(builder, STUN_ATTR_REALM, WORLD_REALM);
    if (world->sha256 && !world->hide_algorithms && !world->plain_nonces)
        stun_put_algorithms(builder,
                            (const struct stun_algorithm[]){{.id = STUN_ALGORITHM_MD5},
                                                            {.id = STUN_ALGORITHM_SHA256}},
                            2);
}

static struct stun_key user_key(const struct world *world, const char *user)
{
    char password[HASH_BASE64_BYTES(HASH_SHA1_BYTES)];
    uint8_t mac[HASH_SHA1_BYTES];
    struct stun_key key;

    if (world->secret) {
        hash_hmac_sha1(world->secret, strlen(world->secret), user, strlen(user), mac);
        hash_base64(mac, sizeof(mac), password);
    }
    stun_key_long_term(&key, world->sha256 ? STUN_ALGORITHM_SHA256 : STUN_ALGORITHM_MD5,
                       stun_text(user), stun_text(WORLD_REALM),
                       stun_text(world->secret ? password : WORLD_PASSWORD));
    return key;
}

static void sign(const struct world_client *client, struct stun_builder *builder)
{
    if (client->world->open)
        return;
    if (client->world->sha256)
        stun_put_integrity_sha256(builder, &client->key, STUN_INTEGRITY_SHA256_BYTES);
    else
        stun_put_integrity(builder, &client->key);
}

static void respond_error(struct world_client *client, const struct stun_message *request,
                          const struct world_answer *answer)
{
    uint8_t bytes[600];
    struct stun_builder builder;
    bool asks = answer->code == STUN_UNAUTHENTICATED || answer->code == STUN_STALE_NONCE;

    stun_build(&builder, bytes, sizeof(bytes), request->method, STUN_ERROR, &request->id);
    if (answer->code)
        stun_put_error(&builder, answer->code, "because");
    if (answer->code == STUN_UNKNOWN_ATTRIBUTE)
        stun_put_unknown(&builder, &answer->unknown, 1);
    if (addr_is_set(&answer->alternate))
        stun_put_address(&builder, STUN_ATTR_ALTERNATE_SERVER, &answer->alternate);
    if (asks)
        put_nonce(client, &builder);
    else if (!client->world->unsigned_errors &&
             (answer->code != STUN_WRONG_CREDENTIALS || !client->world->same_user))
        sign(client, &builder);
    respond(client, bytes, (size_t)stun_built(&builder));
}

/* --- Peers --- */

static struct world_binding *find_binding(struct world_client *client, const struct addr *peer,
                                          bool channel)
{
    for (int i = 0; i < WORLD_PEERS; i++) {
        struct world_binding *binding = &client->bindings[i];

        if (binding->expires > now(client->world) && (binding->number != 0) == channel &&
            (channel ? addr_equal(&binding->peer, peer) : addr_equal_ip(&binding->peer, peer)))
            return binding;
    }
    return NULL;
}

static void bind_peer(struct world_client *client, const struct addr *peer, uint16_t number)
{
    struct world_binding *binding = find_binding(client, peer, number != 0);
    uint32_t seconds = number ? client->world->channel_s : client->world->permission_s;

    for (int i = 0; !binding && i < WORLD_PEERS; i++)
        if (client->bindings[i].expires <= now(client->world))
            binding = &client->bindings[i];
    assert_non_null(binding);
    *binding = (struct world_binding){*peer, number, now(client->world) + seconds * SEC_US};
}

static struct world_client *find_relayed(struct world *world, const struct addr *relayed)
{
    for (int i = 0; i < WORLD_CLIENTS; i++)
        if (world->clients[i].expires > now(world) &&
            (addr_equal(&world->clients[i].relayed, relayed) ||
             addr_equal(&world->clients[i].relayed6, relayed)))
            return &world->clients[i];
    return NULL;
}

void world_peer_sends(struct world *world, const struct addr *peer, const struct addr *relayed,
                      const void *data, size_t len)
{
    struct world_client *client = find_relayed(world, relayed);
    struct world_binding *channel;
    uint8_t bytes[4096];
    struct stun_builder builder;
    struct stun_id id;

    if (!client || !find_binding(client, peer, false)) {
        world->lapsed++;
        return;
    }
    channel = find_binding(client, peer, true);
    if (channel) {
        size_t total = CHANNEL_HEADER_BYTES + len;

        channel_build(bytes, channel->number, len);
        memcpy(bytes + CHANNEL_HEADER_BYTES, data, len);
        memset(bytes + total, 0xEE, 4); /* padding, which nobody may deliver */
        send_bytes(client, bytes, client->is_stream ? padded(total) : total);
        return;
    }
    loop_random(world->loop, &id, sizeof(id));
    stun_build(&builder, bytes, sizeof(bytes), STUN_METHOD_DATA, STUN_INDICATION, &id);
    stun_put_xor_address(&builder, STUN_ATTR_XOR_PEER_ADDRESS, peer);
    stun_put(&builder, STUN_ATTR_DATA, data, len);
    send_bytes(client, bytes, (size_t)stun_built(&builder));
}

/* What a client sends to a peer: to another client, or into the open. */
static void relay(struct world_client *client, const struct addr *peer, const uint8_t *data,
                  size_t len)
{
    struct world *world = client->world;

    world->to_peers++;
    world->last_peer = *peer;
    world->last_relayed = client->relayed;
    world->last_len = len;
    memcpy(world->last, data, len < sizeof(world->last) ? len : sizeof(world->last));
    if (find_relayed(world, peer))
        world_peer_sends(world, &client->relayed, peer, data, len);
}

/* --- Requests --- */

/* True: signed as it should be; else it has been answered. */
static bool authenticate(struct world_client *client, const struct stun_message *request)
{
    struct world *world = client->world;
    struct stun_key key = user_key(world, WORLD_USER);
    struct stun_bytes nonce, user;
    char expected[64], name[sizeof(client->user)] = WORLD_USER;
    uint8_t hash[STUN_USERHASH_BYTES], theirs[STUN_USERHASH_BYTES];
    struct world_answer answer = {.code = STUN_UNAUTHENTICATED};
    bool good;

    if (world->open)
        return true;
    if (stun_read_bytes(stun_find(request, STUN_ATTR_NONCE), &nonce) != 0) {
        respond_error(client, request, &answer);
        return false;
    }
    if (world->secret && stun_read_bytes(stun_find(request, STUN_ATTR_USERNAME), &user) == 0 &&
        user.len < sizeof(name)) {
        memcpy(name, user.bytes, user.len);
        name[user.len] = 0;
        key = user_key(world, name);
    }
    if (world->same_user && client->expires && strcmp(name, client->user) != 0) {
        answer.code = STUN_WRONG_CREDENTIALS;
        respond_error(client, request, &answer);
        return false;
    }
    good = world->sha256 ? stun_check_integrity_sha256(request, &key) == STUN_VERDICT_GOOD
                         : stun_check_integrity(request, &key) == STUN_VERDICT_GOOD;
    world->saw_sha1 |= stun_find(request, STUN_ATTR_MESSAGE_INTEGRITY) != NULL;
    world->saw_sha256 |= stun_find(request, STUN_ATTR_MESSAGE_INTEGRITY_SHA256) != NULL;
    if (stun_read_userhash(stun_find(request, STUN_ATTR_USERHASH), theirs) == 0) {
        world->saw_userhash = true;
        stun_userhash(hash, stun_text(WORLD_USER), stun_text(WORLD_REALM));
        good &= world->anonymity && memcmp(hash, theirs, sizeof(hash)) == 0;
    } else if (stun_read_bytes(stun_find(request, STUN_ATTR_USERNAME), &user) == 0) {
        world->saw_username = true;
        good &= user.len == strlen(name) && memcmp(user.bytes, name, user.len) == 0;
        if (world->secret && (world->strict || !client->expires))
            good &= strtoull(name, NULL, 10) >= now(world) / SEC_US;
    } else {
        good = false;
    }
    if (!good) {
        respond_error(client, request, &answer);
        return false;
    }
    strcpy(client->user, name);
    client->key = key;
    snprintf(expected, sizeof(expected), "%u-%u", client->nonce, client->addr.port);
    if (now(world) < client->nonce_until && nonce.len > strlen(expected) &&
        memcmp(nonce.bytes + nonce.len - strlen(expected), expected, strlen(expected)) == 0)
        return true;
    answer.code = STUN_STALE_NONCE;
    respond_error(client, request, &answer);
    return false;
}

/* True: the test wants an error. */
static bool scripted(struct world_client *client, const struct stun_message *request)
{
    struct world *world = client->world;

    for (size_t i = 0; i < world->script_len; i++) {
        struct world_answer *answer = &world->script[i];

        if (answer->times == 0 || (answer->method && answer->method != request->method))
            continue;
        answer->times--;
        respond_error(client, request, answer);
        return true;
    }
    return false;
}

static void succeed(struct world_client *client, const struct stun_message *request,
                    struct stun_builder *builder)
{
    (void)request;
    sign(client, builder);
    respond(client, builder->bytes, (size_t)stun_built(builder));
}

static void on_allocate(struct world_client *client, const struct stun_message *request,
                        struct stun_builder *builder)
{
    struct world *world = client->world;
    struct world_answer no = {0};
    uint32_t lifetime = world->lifetime_s;
    int family = world->default_family ? world->default_family : AF_INET;

    if (client->expires > now(world))
        no.code = STUN_ALLOCATION_MISMATCH;
    if (world->no_dont_fragment && stun_find(request, STUN_ATTR_DONT_FRAGMENT)) {
        no.code = STUN_UNKNOWN_ATTRIBUTE;
        no.unknown = STUN_ATTR_DONT_FRAGMENT;
    }
    if (no.code) {
        respond_error(client, request, &no);
        return;
    }
    stun_read_u32(stun_find(request, STUN_ATTR_LIFETIME), &lifetime);
    if (lifetime > world->lifetime_s)
        lifetime = world->lifetime_s;
    if (stun_read_family(stun_find(request, STUN_ATTR_REQUESTED_ADDRESS_FAMILY), &family) == 0)
        world->saw_family = true;
    if (world->one_family)
        family = AF_INET;
    client->relayed = addr_any(family, world->next_port++);
    client->relayed.ip.bytes[0] = 0x2e;
    client->relayed.ip.bytes[1] = (uint8_t)(1 + client->server);
    client->expires = now(world) + lifetime * SEC_US;
    world->allocations++;
    stun_put_xor_address(builder, STUN_ATTR_XOR_RELAYED_ADDRESS, &client->relayed);
    if (stun_find(request, STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY)) {
        client->relayed6 = addr_any(AF_INET6, world->next_port++);
        client->relayed6.ip.bytes[0] = 0x2e;
        stun_put_xor_address(builder, STUN_ATTR_XOR_RELAYED_ADDRESS, &client->relayed6);
    }
    stun_put_xor_address(builder, STUN_ATTR_XOR_MAPPED_ADDRESS, &client->addr);
    stun_put_u32(builder, STUN_ATTR_LIFETIME, lifetime);
    if (world->mobility && stun_find(request, STUN_ATTR_MOBILITY_TICKET))
        stun_put(builder, STUN_ATTR_MOBILITY_TICKET,
                 &(uint8_t){client->ticket = (uint8_t)(client - world->clients + 1)}, 1);
    succeed(client, request, builder);
}

/* RFC 8016: the allocation of the ticket comes to this 5-tuple. */
static void move_here(struct world_client *client, const struct stun_message *request)
{
    struct stun_bytes ticket;
    struct world_client *old;

    if (stun_read_bytes(stun_find(request, STUN_ATTR_MOBILITY_TICKET), &ticket) != 0 ||
        ticket.len != 1 || !client->world->mobility || client->expires > now(client->world))
        return;
    for (int i = 0; i < WORLD_CLIENTS; i++) {
        old = &client->world->clients[i];
        if (old == client || old->ticket != ticket.bytes[0] || old->expires == 0)
            continue;
        client->relayed = old->relayed;
        client->relayed6 = old->relayed6;
        client->expires = old->expires;
        client->ticket = old->ticket;
        memcpy(client->bindings, old->bindings, sizeof(client->bindings));
        old->expires = 0;
        old->ticket = 0;
        return;
    }
}

static void on_refresh(struct world_client *client, const struct stun_message *request,
                       struct stun_builder *builder)
{
    struct world *world = client->world;
    uint32_t lifetime = world->lifetime_s;

    stun_read_u32(stun_find(request, STUN_ATTR_LIFETIME), &lifetime);
    if (lifetime > world->lifetime_s)
        lifetime = world->lifetime_s;
    client->expires = lifetime ? now(world) + lifetime * SEC_US : 0;
    world->released += lifetime == 0;
    stun_put_u32(builder, STUN_ATTR_LIFETIME, lifetime);
    stun_put_xor_address(builder, STUN_ATTR_XOR_MAPPED_ADDRESS, &client->addr);
    succeed(client, request, builder);
}

static void on_peer_request(struct world_client *client, const struct stun_message *request,
                            struct stun_builder *builder)
{
    struct addr peer;
    uint16_t number = 0;
    struct world_answer no = {.code = STUN_BAD_REQUEST};

    if (stun_read_xor_address(stun_find(request, STUN_ATTR_XOR_PEER_ADDRESS), &request->id,
                              &peer) != 0 ||
        (request->method == STUN_METHOD_CHANNEL_BIND &&
         stun_read_channel(stun_find(request, STUN_ATTR_CHANNEL_NUMBER), &number) != 0)) {
        respond_error(client, request, &no);
        return;
    }
    for (int i = 0; number && i < WORLD_PEERS; i++) {
        const struct world_binding *other = &client->bindings[i];

        if (other->expires > now(client->world) && other->number &&
            (other->number == number) != addr_equal(&other->peer, &peer)) {
            respond_error(client, request, &no);
            return;
        }
    }
    if (number)
        bind_peer(client, &peer, number);
    bind_peer(client, &peer, 0);
    succeed(client, request, builder);
}

static void on_request(struct world_client *client, const struct stun_message *request)
{
    struct world *world = client->world;
    const struct world_answer mismatch = {.code = STUN_ALLOCATION_MISMATCH};
    uint8_t bytes[600];
    struct stun_builder builder;

    world->requests[request->method & 15]++;
    if (world->chokes_on && stun_find(request, world->chokes_on)) {
        if (world->closes && client->is_stream)
            pipe_close(client->pipe);
        return;
    }
    if (addr_is_set(&world->alternate) && request->method == STUN_METHOD_ALLOCATE &&
        client->server == 0) {
        stun_build(&builder, bytes, sizeof(bytes), request->method, STUN_ERROR, &request->id);
        stun_put_error(&builder, STUN_TRY_ALTERNATE, "because");
        stun_put_address(&builder, STUN_ATTR_ALTERNATE_SERVER, &world->alternate);
        respond(client, bytes, (size_t)stun_built(&builder));
        return;
    }
    if (!authenticate(client, request) || scripted(client, request))
        return;
    stun_build(&builder, bytes, sizeof(bytes), request->method, STUN_SUCCESS, &request->id);
    if (request->method == STUN_METHOD_REFRESH)
        move_here(client, request);
    if (request->method != STUN_METHOD_ALLOCATE && client->expires <= now(world)) {
        if (!world->reticent)
            respond_error(client, request, &mismatch);
    } else if (request->method == STUN_METHOD_CREATE_PERMISSION && world->codeless)
        respond_error(client, request, &(const struct world_answer){0});
    else if (request->method == STUN_METHOD_ALLOCATE)
        on_allocate(client, request, &builder);
    else if (request->method == STUN_METHOD_REFRESH)
        on_refresh(client, request, &builder);
    else
        on_peer_request(client, request, &builder);
}

/* --- In --- */

static void on_indication(struct world_client *client, const struct stun_message *message)
{
    struct stun_bytes data;
    struct addr peer;

    client->world->indications++;
    if (message->method != STUN_METHOD_SEND ||
        stun_read_xor_address(stun_find(message, STUN_ATTR_XOR_PEER_ADDRESS), &message->id,
                              &peer) != 0 ||
        stun_read_bytes(stun_find(message, STUN_ATTR_DATA), &data) != 0)
        return;
    if (client->expires > now(client->world) && find_binding(client, &peer, false))
        relay(client, &peer, data.bytes, data.len);
    else
        client->world->lapsed++;
}

static void on_channel_data(struct world_client *client, const uint8_t *bytes, size_t len)
{
    struct channel_data data;

    client->world->channel_data++;
    assert_true(channel_parse(bytes, len, &data) > 0);
    for (int i = 0; i < WORLD_PEERS; i++) {
        const struct world_binding *binding = &client->bindings[i];

        if (binding->number != data.number || binding->expires <= now(client->world) ||
            client->expires <= now(client->world))
            continue;
        relay(client, &binding->peer, data.data, data.len);
        return;
    }
    client->world->lapsed++;
}

static void on_frame(struct world_client *client, const uint8_t *bytes, size_t len)
{
    struct stun_message message;

    if (client->world->dead[client->server] || client->deaf)
        return;
    if (stun_kind(bytes[0]) == STUN_KIND_CHANNEL) {
        on_channel_data(client, bytes, len);
        return;
    }
    assert_int_equal(stun_parse_datagram(bytes, len, &message), 0);
    if (message.class == STUN_REQUEST)
        on_request(client, &message);
    else
        on_indication(client, &message);
}

static void on_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                       void *arg)
{
    struct world_client *client = arg;
    int len;

    (void)pipe;
    (void)from;
    if (!client->is_stream) {
        if (!chance(client->world, client->world->loss))
            on_frame(client, data->data, data->len);
        return;
    }
    assert_true(client->input_len + data->len <= sizeof(client->input));
    memcpy(client->input + client->input_len, data->data, data->len);
    client->input_len += data->len;
    while ((len = stun_frame(client->input, client->input_len)) > 0) {
        on_frame(client, client->input, (size_t)len);
        client->input_len -= (size_t)len;
        memmove(client->input, client->input + len, client->input_len);
    }
    assert_int_equal(len, 0);
}

static void on_end(struct pipe *pipe, int why, void *arg)
{
    struct world_client *client = arg;

    (void)pipe;
    (void)why;
    client->pipe = NULL;
    if (client->is_stream && !client->world->mobility && !client->deaf)
        client->expires = 0;
}

static struct pipe *world_connect(void *owner, const struct addr *to,
                                  enum server_transport transport)
{
    static const struct pipe_events events = {.message = on_message, .end = on_end};
    struct world *world = owner;
    struct pair_options options = {
        .delay_us = world->delay_us, .rate = world->rate, .messages = transport == SERVER_UDP};
    struct pipe *ends[2];

    for (int i = 0; i < WORLD_CLIENTS; i++) {
        struct world_client *client = &world->clients[i];

        if (client->pipe || client->expires)
            continue;
        *client = (struct world_client){
            .world = world, .is_stream = transport != SERVER_UDP, .server = to->ip.bytes[3] - 1};
        client->addr = addr_loopback(AF_INET, (uint16_t)(10000 + world->next_port++ - 50000));
        assert_int_equal(pair_new(world->loop, &options, ends), 0);
        client->pipe = ends[1];
        pair_cut(ends[1], world->held && client->is_stream);
        pipe_add_listener(ends[1], &events, client);
        pipe_up_soon(ends[0]); /* pairs are up without a word */
        return ends[0];
    }
    errno = ENOBUFS;
    return NULL;
}

struct turn_server world_server(struct world *world, int number, enum server_transport transport)
{
    struct turn_server server = {.server = {.transport = transport, .is_turn = true, .port = 3478},
                                 .login = {.user = WORLD_USER, .password = WORLD_PASSWORD},
                                 .leg = LEG_OPTIONS_DEFAULT};

    snprintf(server.server.host, sizeof(server.server.host), "10.0.0.%d", number + 1);
    server.leg.connect = world_connect;
    server.leg.connect_owner = world;
    return server;
}

void world_hold(struct world *world, bool hold)
{
    world->held = hold;
    for (int i = 0; i < WORLD_CLIENTS; i++)
        if (world->clients[i].pipe && world->clients[i].is_stream)
            pair_cut(world->clients[i].pipe, hold);
}

void world_spoof(struct world *world, const void *bytes, size_t len)
{
    for (int i = 0; i < WORLD_CLIENTS; i++)
        if (world->clients[i].pipe)
            pipe_write_copy(world->clients[i].pipe, bytes, len);
}

void world_script(struct world *world, unsigned method, unsigned code, unsigned times)
{
    if (world->script_len == WORLD_SCRIPT)
        world->script_len = 0;
    world->script[world->script_len++] =
        (struct world_answer){.method = method, .code = code, .times = times};
}

void world_flush(struct world *world)
{
    for (int i = 0; i < WORLD_CLIENTS; i++) {
        struct world_client *client = &world->clients[i], *other;

        if (client->is_stream)
            client->deaf = true;
        if (!client->pipe || client->is_stream || client->expires == 0)
            continue;
        /* The allocation stays with the old address, which nobody has any more. */
        for (int j = 0; j < WORLD_CLIENTS; j++) {
            other = &world->clients[j];
            if (other->pipe || other->expires)
                continue;
            *other = *client;
            other->pipe = NULL;
            break;
        }
        client->expires = 0;
        client->ticket = 0;
        client->nonce_until = 0;
        client->addr.port = (uint16_t)(client->addr.port + 5000);
        memset(client->bindings, 0, sizeof(client->bindings));
    }
}

void world_restart(struct world *world, int server)
{
    for (int i = 0; i < WORLD_CLIENTS; i++) {
        struct world_client *client = &world->clients[i];

        if (client->server != server)
            continue;
        client->expires = 0;
        client->nonce_until = 0;
        memset(client->bindings, 0, sizeof(client->bindings));
        if (client->is_stream && client->pipe)
            pipe_abort(client->pipe, -ECONNRESET);
    }
}

unsigned world_alive(const struct world *world)
{
    unsigned n = 0;

    for (int i = 0; i < WORLD_CLIENTS; i++)
        n += world->clients[i].expires > now(world);
    return n;
}

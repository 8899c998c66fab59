/* SPDX-License-Identifier: MIT */
/* An allocation's parts, for turn_allocation.c (its life), turn_allocate.c (how it is made),
 * turn_alive.c, turn_exchange.c (signed requests), turn_peers.c (permissions, channels, data) and
 * turn_tcp.c only. */
#ifndef ADIT_STUN_TURN_INT_H
#define ADIT_STUN_TURN_INT_H

#include "stun/channel.h"
#include "stun/transaction.h"
#include "stun/turn_allocation.h"

#define TURN_RENEW_S         240 /* permissions live 300 s, channels 600 (RFC 8656 9, 12) */
#define TURN_PERMISSION_S    300
#define TURN_CHANNEL_S       600
#define TURN_CHANNEL_REST_S  300 /* before a number or a peer may be bound anew (RFC 8656 12) */
#define TURN_RETRY_S         30  /* what a server refused for the moment is asked for again */
#define TURN_REFRESH_AGAIN_S 5
#define TURN_REDIRECTS_MAX   5
#define TURN_PORTS_MAX       3  /* new local ports after 437 (RFC 8656 7.4) */
#define TURN_SKIPS_MAX       12 /* other addresses of a name, when one is silent on UDP */
#define TURN_SKIP_US         (2500 * MS_US)
#define TURN_STALE_MAX       8 /* 438s in a row to one request */
#define TURN_TICKET_MAX      512
#define TURN_REQUEST_BYTES   4096 /* room to build a request in */

struct turn_exchange;

/* A leg with its transactions. Mobility has two for a while. */
struct turn_leg {
    struct turn_allocation *owner;
    struct leg *leg;
    struct transaction_table *table;
    struct turn_exchange *exchanges;
    bool up;
};

/* What a request is about, kept with it while it is asked, again and again if need be. */
typedef void turn_exchange_build(struct turn_exchange *exchange, struct stun_builder *builder);
/* Told once, from the loop, unless cancelled. Success: report NULL. The response may be NULL. */
typedef void turn_exchange_done(struct turn_exchange *exchange, const struct stun_message *response,
                                const struct turn_report *report);

struct turn_exchange {
    struct turn_exchange *next, **prev; /* prev NULL: not started */
    struct turn_leg *leg;
    struct transaction *transaction;
    unsigned method;
    unsigned stale; /* 438s so far */
    unsigned login; /* which one it was signed with: turn_allocation.logins */
    bool was_signed;
    bool is_proven; /* the response is verified, or there was nothing to verify it by */
    bool relogged;  /* asked again with new credentials */
    turn_exchange_build *build;
    turn_exchange_done *done;
    void *arg;
    struct turn_exchange **holder; /* set to NULL when it is cancelled; may be NULL */
    struct addr peer;              /* for build and done */
    uint32_t number;
};

/* Asks. Copied; false: no memory or the table is full, and done is not told. *out (may be NULL) is
 * valid until done. */
bool turn_exchange_start(struct turn_leg *leg, const struct turn_exchange *what,
                         struct turn_exchange **out);
void turn_exchange_cancel(struct turn_exchange *exchange);
/* Sends a copy of what is asked (transaction_hurry()). */
void turn_exchange_hurry(struct turn_exchange *exchange);
/* All of a leg, untold. */
void turn_exchanges_cancel(struct turn_leg *leg);

enum turn_permission_state {
    TURN_PERMISSION_NONE,   /* the slot is free */
    TURN_PERMISSION_ASKING, /* not granted yet */
    TURN_PERMISSION_GRANTED,
    TURN_PERMISSION_REFUSED,
};

struct turn_permission {
    struct addr ip; /* port 0 */
    enum turn_permission_state state;
    enum turn_trouble told; /* to `peer` */
    bool was_told;
    struct turn_exchange *exchange;
    uint64_t due;     /* to be asked for (again); UINT64_MAX: not */
    uint64_t expires; /* at the server; of the last success */
};

enum turn_channel_state {
    TURN_CHANNEL_NONE, /* the slot, which is the number, is free */
    TURN_CHANNEL_ASKING,
    TURN_CHANNEL_BOUND,
    TURN_CHANNEL_REFUSED, /* by indications, then */
    TURN_CHANNEL_RESTING, /* forgotten; it may be bound at the server still */
};

struct turn_channel {
    struct addr peer;
    enum turn_channel_state state;
    struct turn_exchange *exchange;
    uint64_t due;     /* to be asked for (again) */
    uint64_t expires; /* at the server; of the last success */
    uint64_t used;    /* by us or the peer */
};

enum turn_state {
    TURN_CONNECTING, /* the leg is opening */
    TURN_ALLOCATING,
    TURN_UP,
    TURN_RELEASING,
};

struct turn_allocation {
    struct loop *loop;
    struct turn_allocation_events events;
    void *arg;
    struct turn_server to; /* its strings are below */
    struct turn_request request;
    struct credentials credentials;
    char *secret, *secret_id; /* of time-limited credentials; NULL: none. Wiped */
    unsigned logins;          /* how often such were made anew */
    char tls_name[SERVER_HOST_MAX + 1];
    enum turn_state state;
    struct turn_leg legs[2];
    struct turn_leg *leg, *moving; /* moving: of mobility, not proven yet */
    struct timer timer;
    /* Until it is up. */
    struct addr redirected[TURN_REDIRECTS_MAX + 1]; /* the first: where we began */
    unsigned redirects, ports, skips;
    bool bare;        /* what could be left out of Allocate was, since there was silence */
    bool name_family; /* IPv4, too, is asked for by name */
    bool eager;       /* the server wants no login: everything is asked for at once */
    /* What was granted. */
    struct addr relayed[2], mapped;
    unsigned relayed_count;
    bool has_token;
    uint8_t token[STUN_TOKEN_BYTES];
    uint8_t ticket[TURN_TICKET_MAX];
    size_t ticket_len;
    uint32_t lifetime_s;
    uint64_t expires, refresh_due;
    struct turn_exchange *refresh;
    /* Liveness. */
    uint64_t heard;        /* when an answer or data came last */
    uint64_t answered;     /* when an answer came last that was proven */
    uint64_t sent_unheard; /* when data was first sent since; 0: none */
    uint64_t active;       /* when data was last sent or received */
    uint64_t probe_since;  /* when the present probing began; 0: not probing */
    uint64_t probe_next;
    bool silent;
    bool *gone; /* set true when it is freed */
    struct gap_watch gap;
    uint64_t move_next;   /* the next attempt to move may begin */
    uint64_t moves_since; /* when the first of the last moves was, */
    unsigned moves;       /* and how many they are */
    uint64_t stale_nonces, stray, dropped;
    char software[64];
    /* Peers. */
    struct turn_permission *permissions; /* TURN_PERMISSIONS_MAX, from the first on */
    unsigned permission_count;           /* slots in use, none behind */
    struct turn_channel *channels;
    unsigned channel_count;
    struct turn_channel *last_channel; /* the one sent to last */
    struct turn_tcp *connections;      /* turn_tcp.c */
};

static inline uint64_t turn_now(const struct turn_allocation *allocation)
{
    return loop_now(allocation->loop);
}
/* Looks what is due next (turn_allocation.c). */
void turn_schedule(struct turn_allocation *allocation);
/* It is over: tells the end, and frees. */
void turn_end(struct turn_allocation *allocation, const struct turn_report *report);
/* Begins to ask the server whether it is there. */
void turn_probe(struct turn_allocation *allocation);
/* Data was sent to the server, which should soon be heard. */
void turn_sent(struct turn_allocation *allocation);
/* The allocation is gone, a request has shown. True: it is being moved here by a ticket; false: it
 * has ended. */
bool turn_gone(struct turn_allocation *allocation, const struct turn_report *report);

/* A new user and password of the secret; false: there is no secret. */
bool turn_make_login(struct turn_allocation *allocation);
void turn_end_with(struct turn_allocation *allocation, enum turn_trouble trouble, const char *what);
/* turn_allocate.c: asks for it, on a leg that is up; or, in TURN_SKIP_US after this call, something
 * else than what has not been answered. */
void turn_allocate(struct turn_allocation *allocation);
void turn_await_answer(struct turn_allocation *allocation);
/* That time is over. */
void turn_allocate_late(struct turn_allocation *allocation);
/* The leg has ended while it was being made: true when it has begun again (or ended of it). */
bool turn_allocate_elsewhere(struct turn_allocation *allocation);
/* Asks the server to forget us; false: it never knew us, or cannot be told. */
bool turn_ask_release(struct turn_allocation *allocation);
/* Opens a leg; false: no memory. Closes one, and forgets everything of it. */
bool turn_leg_begin(struct turn_leg *leg);
void turn_leg_drop(struct turn_leg *leg);

/* turn_alive.c: what a success response to Allocate or Refresh has. */
void turn_take_lifetime(struct turn_allocation *allocation, const struct stun_message *response);
void turn_take_ticket(struct turn_allocation *allocation, const struct stun_message *response);
/* Smoothed round trip; 0: not known. */
uint64_t turn_rtt(const struct turn_allocation *allocation);
/* Asks for a Refresh. False: cannot. */
bool turn_refresh(struct turn_allocation *allocation, struct turn_leg *leg, bool with_ticket);
/* Opens another leg, on which a ticket takes the allocation along; false: cannot. */
bool turn_begin_move(struct turn_allocation *allocation);
/* The server has answered a request on the leg in use. */
void turn_answered(struct turn_allocation *allocation, bool is_proven);
/* Data has come from a peer that may send, by what seems to be the server. */
void turn_heard_data(struct turn_allocation *allocation);
/* A refusal of who we are, in the allocation's life: it cannot go on. */
bool turn_is_login_lost(const struct turn_report *report);
/* When liveness has something to do next; does it. True: the owner was told something, and the
 * allocation may be gone. */
uint64_t turn_liveness_due(const struct turn_allocation *allocation);
bool turn_liveness_work(struct turn_allocation *allocation);

/* turn_peers.c */
uint64_t turn_peers_due(const struct turn_allocation *allocation);
void turn_peers_work(struct turn_allocation *allocation);
/* The leg's exchanges are about to go. */
void turn_peers_detach(struct turn_allocation *allocation);
/* After a move: everything is asked for again. */
void turn_peers_renew(struct turn_allocation *allocation);
void turn_peers_free(struct turn_allocation *allocation);
void turn_peers_channel_data(struct turn_allocation *allocation, const struct slice *frame);
void turn_peers_data(struct turn_allocation *allocation, const struct slice *frame,
                     const struct stun_message *message);
/* turn_tcp.c: the control connection has ended. */
void turn_tcp_fail_all(struct turn_allocation *allocation, const struct turn_report *report);

/* turn.c: whether something is asked for that old servers may not know and that can be done without
 * (DONT-FRAGMENT, EVEN-PORT, ADDITIONAL-ADDRESS-FAMILY, MOBILITY-TICKET); leaves it out. */
bool turn_has_options(const struct turn_request *request);
void turn_drop_options(struct turn_request *request);

/* turn.c: reports. A user's name is that of the allocation. */
void turn_report_make(struct turn_report *report, enum turn_trouble trouble, unsigned method,
                      unsigned code, const char *format, ...) __attribute__((format(printf, 5, 6)));
/* What an error response means. peer: whom the request was about, or NULL. */
void turn_report_error(struct turn_report *report, unsigned method, const struct stun_error *error,
                       const struct stun_server *server, const struct credentials *credentials,
                       const struct addr *peer, uint64_t now_s);
/* The time of day in seconds; on a virtual loop, the loop's. */
uint64_t turn_time_s(struct loop *loop);

#endif

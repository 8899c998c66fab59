/* SPDX-License-Identifier: MIT */
/*
 * Allocation: one relayed address at one TURN server (RFC 8656), kept alive until it is closed:
 * permissions, channels, and the data of its peers. turn_allocation.c has the theory.
 */
#ifndef ADIT_STUN_TURN_ALLOCATION_H
#define ADIT_STUN_TURN_ALLOCATION_H

#include "base/loop.h"
#include "base/slice.h"
#include "stun/turn.h"

struct turn_allocation;

#define TURN_PERMISSIONS_MAX 256   /* addresses of peers */
#define TURN_CHANNELS_MAX    256   /* peers with a channel; others are sent to by indications */
#define TURN_DATA_MAX        65000 /* bytes of a message; what the path carries is far less */

/* Told from the loop. The allocation may be closed inside each. Any may be NULL but `end`. */
struct turn_allocation_events {
    /* It is there: its addresses are known. */
    void (*up)(struct turn_allocation *allocation, void *arg);
    /* Its mapped address, or (mobility) its leg, has changed; the relayed address has not. */
    void (*moved)(struct turn_allocation *allocation, void *arg);
    /* A message of a peer. The slice is lent: slice_ref() it to keep it. */
    void (*data)(struct turn_allocation *allocation, const struct slice *data,
                 const struct addr *peer, void *arg);
    /* What became of turn_allocation_permit(): TURN_FINE, or why not; once for each change. */
    void (*peer)(struct turn_allocation *allocation, const struct addr *peer,
                 const struct turn_report *report, void *arg);
    /* An ICMP error about what was sent to a peer (RFC 8656 11.7). */
    void (*icmp)(struct turn_allocation *allocation, const struct addr *peer,
                 const struct stun_icmp *icmp, void *arg);
    /* RFC 6062: a peer connects; turn_tcp_answer() within 30 s. */
    void (*attempt)(struct turn_allocation *allocation, uint32_t connection,
                    const struct addr *peer, void *arg);
    /* The server has been silent for too long although it was asked (true), or is heard again. */
    void (*silent)(struct turn_allocation *allocation, bool silent, void *arg);
    /* There was no room and there is again (streams). */
    void (*room)(struct turn_allocation *allocation, void *arg);
    /* Over, and the allocation gone. Not told after turn_allocation_close(). */
    void (*end)(struct turn_allocation *allocation, const struct turn_report *report, void *arg);
};

/* Begins. Server and request are copied (but for what leg points to). NULL: no memory. */
struct turn_allocation *turn_allocation_open(struct loop *loop, const struct turn_server *server,
                                             const struct turn_request *request,
                                             const struct turn_allocation_events *events,
                                             void *arg);
/* Ends it, untold and at once; the server is told to forget it by one request whose answer nobody
 * awaits. */
void turn_allocation_close(struct turn_allocation *allocation);
/* Ends it, and sees to it that the server forgets it: `end` is told with TURN_FINE when the server
 * has said so, or after TURN_RELEASE_MS. Nothing else is told any more. */
#define TURN_RELEASE_MS 750
void turn_allocation_release(struct turn_allocation *allocation);

/* Lets a peer's address (its port does not count) send to us, until forgotten. 0; ADIT_EFULL. */
int turn_allocation_permit(struct turn_allocation *allocation, const struct addr *peer);
void turn_allocation_forget(struct turn_allocation *allocation, const struct addr *peer);
bool turn_allocation_is_permitted(const struct turn_allocation *allocation,
                                  const struct addr *peer);
/* Sends a message to a peer, which must have been permitted (its address): at once, or, when the
 * permission is still being asked for, dropped. By the peer's channel; until that is bound, by a
 * Send indication. 0; ADIT_ECLOSED: not up; -EACCES: not permitted (yet); -EMSGSIZE; -ENOBUFS: the
 * leg's queue is full; -EAFNOSUPPORT: no relayed address of its family. */
int turn_allocation_send(struct turn_allocation *allocation, const void *data, size_t len,
                         const struct addr *peer);
/* The same of a slice, which is the allocation's from then on if it returns 0, and copied only
 * where others have its block or there is no channel yet. */
int turn_allocation_send_slice(struct turn_allocation *allocation, struct slice *data,
                               const struct addr *peer);
/* Bytes that may be sent now. */
size_t turn_allocation_room(const struct turn_allocation *allocation);
/* Stops and starts what comes from the server. */
void turn_allocation_pause(struct turn_allocation *allocation);
void turn_allocation_resume(struct turn_allocation *allocation);
/* Something tells that the network has changed: asks the server at once whether it is there and
 * knows us, on the leg there is and, with a ticket, on a new one. */
void turn_allocation_check(struct turn_allocation *allocation);

/* The server answered only when asked without what can be left out (turn_allocation.c). */
bool turn_allocation_is_bare(const struct turn_allocation *allocation);
bool turn_allocation_is_up(const struct turn_allocation *allocation);
/* The relayed address of that family (0: the first). 0 or -ENOENT. */
int turn_allocation_relayed(const struct turn_allocation *allocation, int family,
                            struct addr *addr);
/* Ours as the server sees it. 0 or -ENOENT. */
int turn_allocation_mapped(const struct turn_allocation *allocation, struct addr *addr);
/* The leg's two ends. 0 or a negative error. */
int turn_allocation_addrs(const struct turn_allocation *allocation, struct addr *local,
                          struct addr *server);
struct turn_allocation_status {
    uint32_t lifetime_s; /* as granted last */
    uint64_t expires_us; /* time of the loop */
    uint64_t rtt_us;     /* 0: not known */
    uint64_t heard_us;   /* when anything came from the server */
    unsigned permissions, channels;
    bool has_ticket; /* the server does mobility */
    bool silent;
    bool sha256;           /* MESSAGE-INTEGRITY-SHA256 is used */
    bool anonymous;        /* and USERHASH */
    uint64_t stale_nonces; /* 438s survived */
    uint64_t stray;        /* packets that were passed over: garbage, of others, of no peer */
    uint64_t dropped;      /* messages that were not sent: no permission, no room */
    char software[64];     /* SOFTWARE, printable part; "" if it does not tell */
};
void turn_allocation_status(const struct turn_allocation *allocation,
                            struct turn_allocation_status *status);
/* The token of the reserved next port. 0 or -ENOENT. */
int turn_allocation_token(const struct turn_allocation *allocation,
                          uint8_t token[STUN_TOKEN_BYTES]);

#endif

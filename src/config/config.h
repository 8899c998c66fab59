/* SPDX-License-Identifier: MIT */
/*
 * Configuration: adit.conf and `-o SECTION.KEY=VALUE`, made into one plain struct. All that can be
 * configured is in one table (keys.c), from which values are parsed and with which `make check`
 * compares the manual, the completion and the sample. config.c has the theory.
 *
 * Strings are never NULL: a key that is not set and has no default is "". Everything belongs to the
 * struct.
 */
#ifndef ADIT_CONFIG_CONFIG_H
#define ADIT_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/log.h"
#include "config/rule.h"
#include "crypto/identity.h"

#define CONFIG_FILE_MAX_BYTES (1024 * 1024)
#define CONFIG_LINE_MAX_BYTES (64 * 1024)
#define CONFIG_LIST_MAX       1024                /* values of one repeatable key */
#define CONFIG_PEERS_MAX      1024                /* [peer NAME] sections */
#define CONFIG_TURN_RENEW_US  UINT64_C(240000000) /* turn.renew */
#define CONFIG_TURNS_MAX      64                  /* [turn NAME] sections */
#define CONFIG_ERRORS_MAX     100                 /* further ones are only counted */
#define CONFIG_PEER_NAME_MAX  32                  /* letters, digits, '-', '_' and '.' */

struct config_strings {
    char **items;
    size_t count;
};

struct config_addrs {
    struct addr *items;
    size_t count;
};

/* Where a listener of ours is: an address, or the path of a unix socket. */
struct config_listen {
    struct addr addr; /* unset when path is not NULL */
    char *path;
};

struct config_listens {
    struct config_listen *items;
    size_t count;
};

struct config_rules {
    struct rule *items;
    size_t count;
};

/* RULE -> PEER, direct or block. */
struct config_route {
    struct rule rule;
    char *exit;
};

struct config_routes {
    struct config_route *items;
    size_t count;
};

/* LISTEN -> PEER HOST:PORT (config/forward.h). */
struct config_forward {
    struct config_listen listen; /* reverse: at the peer, without path */
    char *peer;
    struct target to; /* as whoever connects there sees it: the peer, or (reverse) we */
    bool is_reverse;
};

struct config_forwards {
    struct config_forward *items;
    size_t count;
};

enum config_strategy { STRATEGY_DIRECT, STRATEGY_REVERSE, STRATEGY_PUNCH, STRATEGY_RELAY };
#define CONFIG_STRATEGIES 4

struct config_strategies {
    uint8_t order[CONFIG_STRATEGIES]; /* enum config_strategy, each at most once */
    size_t count;
};

enum config_dns { CONFIG_DNS_EXIT, CONFIG_DNS_LOCAL };
enum config_on_loss { CONFIG_ON_LOSS_BLOCK, CONFIG_ON_LOSS_DIRECT };

/* TURN servers and who we are there: [turn], or [turn NAME]. */
struct config_turn {
    char *name; /* NULL: of [turn] */
    struct config_strings server;
    char *user, *password_file, *secret_file;
    char *ca_file;     /* "": the system's authorities */
    uint64_t renew_us; /* how often permissions and channels are renewed */
};

struct config_peer {
    char *name;
    bool has_id;
    struct node_id id;
    char *ticket; /* "" or an adit1... text that ticket_parse() accepts */
    bool admit;
    int line; /* where its section begins; 0: from the command line */
};

/* Durations are in microseconds (*_us), sizes in bytes, rates in bytes a second. */
struct config {
    struct {
        char *name;    /* "": the host's name */
        char *control; /* "": see control_path_default() */
        int log;       /* enum log_level */
    } node;
    struct {
        struct config_strings broker;
        char *ca_file; /* "": the system's */
    } signal;
    struct {
        struct config_strings stun;
        bool port_mapping;
        struct config_strings interfaces; /* none: all that are up */
        bool standby;                     /* a path over each of `interfaces` */
        bool udp_offload;                 /* several datagrams go through the system as one */
    } nat;
    struct config_turn turn;
    struct {
        struct config_strategies strategies;
        struct config_strategies fail; /* made to fail, for tests */
        struct config_addrs listen;
        struct config_strings advertise; /* HOST:PORT that target_parse() accepts */
        uint64_t hold_us;
        uint64_t connect_wait_us;
        uint64_t probe_min_us;         /* shortest silence that makes a path suspect */
        uint64_t probe_idle_us;        /* how often an idle path is probed */
        uint64_t dial_timeout_us;      /* one attempt: TCP connect and TLS */
        uint64_t dial_retry_us;        /* pause after a round of failed attempts; doubles ... */
        uint64_t dial_retry_max_us;    /* ... up to this */
        uint64_t handshake_timeout_us; /* an incoming connection's preface and TLS */
        uint32_t max_handshakes;       /* incoming ones at once */
        uint64_t renew_bytes;          /* a path is replaced after so much ... */
        uint64_t renew_after_us;       /* ... or so long */
    } path;
    struct {
        uint64_t memory;
        uint32_t max_streams;
    } session;
    struct {
        struct config_listens listen;
        char *exit; /* a peer's name, ID or unambiguous prefix of it, or a ticket; "": the only peer
                       there is */
        char *users_file;
        uint32_t max_clients;
        uint64_t request_timeout_us; /* from a client's connection to its complete request */
        struct config_routes route;
    } gateway;
    struct {
        char *device;
        struct config_strings address, route, bypass;
        uint32_t mtu;
        int dns;     /* enum config_dns */
        int on_loss; /* enum config_on_loss */
    } tun;
    struct {
        struct config_rules allow, deny;
        uint64_t rate; /* per peer, bytes a second each way; 0: no limit */
        uint32_t max_streams_per_peer;
        uint64_t connect_timeout_us;
        struct config_addrs resolver; /* none: the system's; port 53 unless given */
        bool access_log;
        struct config_rules reverse; /* where admitted peers may have us listen */
    } exit;
    struct {
        struct config_forwards local, reverse;
    } forward;
    struct config_peer *peers;
    size_t peer_count;
    struct config_turn *turns; /* those with names */
    size_t turn_count;

    struct config_parser *parser; /* errors, notes, and where each value came from (config.c) */
};

enum config_type {
    CONFIG_BOOL,     /* bool */
    CONFIG_INT,      /* uint32_t */
    CONFIG_DURATION, /* uint64_t, microseconds */
    CONFIG_SIZE,     /* uint64_t, bytes */
    CONFIG_RATE,     /* uint64_t, bytes a second */
    CONFIG_STRING,   /* char * */
    CONFIG_FILE,     /* char *, a path */
    CONFIG_ENUM,     /* int, index into choices */
    CONFIG_STRATEGY, /* struct config_strategies, comma-separated */
    CONFIG_NODE_ID,  /* struct node_id, with a bool before it */
    CONFIG_TICKET,   /* char * */
    /* Repeatable: */
    CONFIG_ADDRS,     /* struct config_addrs: IP:PORT */
    CONFIG_RESOLVERS, /* struct config_addrs: IP or IP:PORT */
    CONFIG_LISTENS,   /* struct config_listens: IP:PORT or unix:PATH */
    CONFIG_TARGETS,   /* struct config_strings: HOST:PORT */
    CONFIG_URLS,      /* struct config_strings: SCHEME:..., schemes in choices */
    CONFIG_BROKERS,   /* struct config_strings: URLs of config/broker_url.h */
    CONFIG_WORDS,     /* struct config_strings: comma-separated words */
    CONFIG_NETS,      /* struct config_strings: IP/PREFIX */
    CONFIG_RULES,     /* struct config_rules */
    CONFIG_ROUTES,    /* struct config_routes: RULE -> EXIT */
    CONFIG_FORWARDS,  /* struct config_forwards, from here */
    CONFIG_REVERSES,  /* the same, from there */
};

/* A key of the configuration. */
struct config_key {
    const char *section, *name;
    enum config_type type;
    bool repeat; /* may be given several times; the values add up */
    bool unused; /* accepted and checked, but nothing in this version uses it */
    size_t offset;
    const char *fallback; /* the default as it would be written; NULL: none */
    uint64_t min, max;    /* of numbers, in the field's unit; max 0: no bounds */
    const char *const *choices;
    const char *help; /* one line */
};

/* All keys, in the order of the manual. The section "peer" stands for [peer NAME],
 * "turn" for [turn] and [turn NAME]. */
const struct config_key *config_keys(size_t *count);
/* What a value of this type looks like, for texts: "yes|no", "DURATION", ... */
const char *config_type_name(const struct config_key *key);

/* A configuration of defaults only. NULL: no memory. */
struct config *config_new(void);
void config_free(struct config *config);

/* Reads a file, or a text (name: for messages). Options win over files, whatever the order of the
 * calls. 0, ADIT_EFORMAT when it has errors (config_error() tells them all), or a negative errno
 * when it cannot be read (also a config_error()). */
int config_load(struct config *config, const char *path);
int config_parse(struct config *config, const char *text, size_t len, const char *name);
/* One `-o` argument: SECTION.KEY=VALUE, or peer.NAME.KEY=VALUE or turn.NAME.KEY=VALUE. Options for
 * a repeatable key replace what the file says and add up among themselves; of others the last one
 * holds. 0 or ADIT_EFORMAT. */
int config_set(struct config *config, const char *assignment);
/* Checks what concerns several keys; call it after everything was read. 0 or ADIT_EFORMAT. */
int config_finish(struct config *config);

/* Errors so far, as "FILE:LINE: text" or "-o SECTION.KEY=VALUE: text"; NULL past the last. count
 * includes those beyond CONFIG_ERRORS_MAX. */
size_t config_error_count(const struct config *config);
const char *config_error(const struct config *config, size_t index);
/* The same for remarks that are no errors: keys which this version does not use. */
const char *config_note(const struct config *config, size_t index);

/* Does the file have this section, or an option set a key of it? So a role is asked for ("gateway",
 * "exit", ...). */
bool config_has_section(const struct config *config, const char *section);
/* A [peer NAME] section's peer; NULL if there is none. */
const struct config_peer *config_peer_find(const struct config *config, const char *name);
/* A [turn NAME] section's servers; NULL if there is none. */
const struct config_turn *config_turn_find(const struct config *config, const char *name);
/* May this be a peer's name? */
bool config_is_peer_name(const char *name);

#endif

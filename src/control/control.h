/* SPDX-License-Identifier: MIT */
/*
 * Control: how other processes of the same user ask and steer a running adit: a unix socket on
 * which each line is one JSON object.
 *
 *     -> {"verb": "ping", "args": {"peer": "home"}, "id": 1}
 *     <- {"id": 1, "event": {...}}                  any number of these
 *     <- {"id": 1, "ok": true, "result": {...}}
 *        or {"id": 1, "ok": false, "error": "plain words"}
 *
 * Requests of one connection are answered one after the other. server.c and client.c have the
 * theory; verbs.h has the verbs.
 */
#ifndef ADIT_CONTROL_CONTROL_H
#define ADIT_CONTROL_CONTROL_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "config/config.h"
#include "config/state.h"

#define CONTROL_CLIENTS_MAX       32
#define CONTROL_REQUEST_MAX_BYTES (64 * 1024)
#define CONTROL_OUTPUT_MAX_BYTES \
    (16 * 1024 * 1024) /* waiting for a client that does not read: it is dropped */
#define CONTROL_RESPONSE_MAX_BYTES (64 * 1024 * 1024) /* as a client */
#define CONTROL_ERROR_MAX          512

/* Where the socket is: node.control if it is set; else, for the default state directory (dir_chosen
 * false), adit/control.sock in $XDG_RUNTIME_DIR, or in /run for root; else control.sock in the
 * state directory. So several processes, each with a directory of its own, stay apart. 0 or
 * -ENAMETOOLONG. */
int control_path(const struct config *config, const char *dir, bool dir_chosen,
                 char path[PATH_MAX]);

/* --- Server --- */

struct control_server;
struct control_request;

struct control_ops {
    /* A request, which must be answered exactly once, now or later, by control_answer() or
     * control_fail(). args: an object, lent. */
    void (*request)(void *arg, struct control_request *request, const char *verb,
                    const json_t *args);
};

/* Binds the socket (0600, its directory made if there is none). NULL: errbuf says why. */
struct control_server *control_server_new(struct loop *loop, const char *path,
                                          const struct control_ops *ops, void *arg, char *errbuf,
                                          size_t errlen);
/* Closes all connections and removes the socket. Requests not yet answered still have to be. */
void control_server_free(struct control_server *server);

/* Ends the request. result: its reference is taken; NULL is an empty object. */
void control_answer(struct control_request *request, json_t *result);
__attribute__((format(printf, 2, 3))) void control_fail(struct control_request *request,
                                                        const char *format, ...);
/* Something on the way to the answer. event: its reference is taken. */
void control_event(struct control_request *request, json_t *event);
/* The client is gone: whoever works for it may as well end. */
bool control_is_gone(const struct control_request *request);
/* For requests that last: `gone` is called, once, when the client is gone or will send no more. The
 * request still has to be answered. NULL: no longer wanted. */
void control_on_gone(struct control_request *request, void (*gone)(void *arg), void *arg);

/* --- Client: blocking, for verbs of the command line --- */

struct control_client;

/* NULL: *error is -ENOENT or -ECONNREFUSED where nobody listens, or another negative errno. */
struct control_client *control_client_open(const char *path, int *error);
void control_client_close(struct control_client *client);

typedef void control_event_fn(void *arg, const json_t *event);
/* Asks and waits for the answer. args: its reference is taken; NULL: none. Events go to `event`
 * (may be NULL). timeout_ms: longest silence; 0: for ever. 0 and *result (a new reference; result
 * may be NULL), or a negative error and errbuf in plain words. */
int control_call(struct control_client *client, const char *verb, json_t *args,
                 control_event_fn *event, void *arg, uint32_t timeout_ms, json_t **result,
                 char errbuf[CONTROL_ERROR_MAX]);

/* --- The verbs that need only the state: the running process and, where there is none, the command
 * line use them --- */

/* Is it one of them? */
bool control_is_peer_verb(const char *verb);
/* "peers", "allow", "expire", "revoke", "rename", "forget". The result (a new reference), or NULL
 * and errbuf. *changed: peers are others than before. own: this node's ID. */
json_t *control_peers(struct state *state, const struct node_id *own, const char *verb,
                      const json_t *args, int64_t now, bool *changed,
                      char errbuf[CONTROL_ERROR_MAX]);
/* Puts into the result of "peers" what a running node knows of them now (node_status()), also of
 * peers that the state does not have, and sorts it: those connected first, then as last seen. */
void control_peers_add_live(json_t *result, const json_t *status);

#endif

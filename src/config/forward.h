/* SPDX-License-Identifier: MIT */
/*
 * Forwards as users write them: LISTEN, a peer, HOST:PORT. LISTEN is a port (of 127.0.0.1), IP:PORT
 * or unix:PATH; port 0 means any that is free.
 */
#ifndef ADIT_CONFIG_FORWARD_H
#define ADIT_CONFIG_FORWARD_H

#include "config/config.h"

#define FORWARD_WHY_MAX         256
#define FORWARD_LISTEN_TEXT_MAX 128

/* From its three words. peer: as it is (for the node to find). 0; ADIT_EFORMAT or -ENOMEM and why
 * (FORWARD_WHY_MAX). *out holds copies: config_forward_clear(). */
int config_forward_set(struct config_forward *out, bool is_reverse, const char *listen,
                       const char *peer, const char *to, char *why);
/* The same from "LISTEN -> PEER HOST:PORT". */
int config_forward_parse(struct config_forward *out, bool is_reverse, const char *text, char *why);
void config_forward_clear(struct config_forward *forward);
/* "127.0.0.1:8080" or "unix:/run/x" */
const char *config_listen_format(const struct config_listen *listen,
                                 char buf[FORWARD_LISTEN_TEXT_MAX]);
bool config_listen_equal(const struct config_listen *a, const struct config_listen *b);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * Secure: pipes of TLS to ordinary servers, which prove their name by a certificate of a public (or
 * given) authority. Unlike pipe/tls.h, which is between nodes.
 */
#ifndef ADIT_STUN_SECURE_H
#define ADIT_STUN_SECURE_H

#include "crypto/tls_client.h"
#include "pipe/options.h"
#include "pipe/pipe.h"

/* Connects to `to` and shakes hands; up when the server has proven to be `name` (a host name or an
 * IP address). Ends with ADIT_EAUTH when it has not; secure_trouble() has the words. NULL: no
 * memory or socket (errno says why). options may be NULL. */
struct pipe *secure_open(struct loop *loop, struct tls_authority *authority, const struct addr *to,
                         const char *name, const struct pipe_options *options);
/* Why it ended, for people; static, or the pipe's own until it is gone. */
const char *secure_trouble(const struct pipe *pipe);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * Receiving datagrams, many a system call: for udp.c.
 */
#ifndef ADIT_PIPE_UDP_RECEIVE_H
#define ADIT_PIPE_UDP_RECEIVE_H

#include "base/addr.h"
#include "base/slice.h"

struct udp_batch;

/* `named`: sources are wanted, since the socket is not connected; `gro`: the socket has UDP_GRO.
 * Never NULL. */
struct udp_batch *udp_batch_new(bool named, bool gro);
void udp_batch_free(struct udp_batch *batch); /* may be NULL */
/* Reads datagrams of a socket in one call. True: there may be more. Call when udp_batch_next() has
 * said that nothing is left. */
bool udp_batch_fill(struct udp_batch *batch, int fd);
/* Is anything left of it? What is left may turn out to be no message. */
bool udp_batch_has(const struct udp_batch *batch);
/* The next message, the caller's, and its source (untouched unless `named`). False: none left. */
bool udp_batch_next(struct udp_batch *batch, struct slice *data, struct addr *from);
/* Datagrams passed over so far: the kernel had cut them. */
uint64_t udp_batch_dropped(const struct udp_batch *batch);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * Fragments: IP datagrams put together again from their parts. Bounded: FRAGMENTS_DATAGRAMS_MAX at
 * once, the oldest gives way.
 */
#ifndef ADIT_CAPTURE_FRAGMENTS_H
#define ADIT_CAPTURE_FRAGMENTS_H

#include "capture/packet.h"

#define FRAGMENTS_DATAGRAMS_MAX 16
#define FRAGMENTS_BYTES         65536

struct fragments;

struct fragments *fragments_new(void); /* NULL: no memory */
void fragments_free(struct fragments *fragments);
/* Adds a part. When the datagram is complete: PACKET_WHOLE and the packet, whose data is the
 * table's until the next call; PACKET_FRAGMENT: not complete yet; else what is wrong with the
 * datagram. */
enum packet_outcome fragments_add(struct fragments *fragments,
                                  const struct packet_fragment *fragment, struct packet *packet);
/* Parts of datagrams that never became complete. */
size_t fragments_lost(const struct fragments *fragments);

#endif

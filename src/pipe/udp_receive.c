/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * recvmmsg() into blocks of UDP_BLOCK_BYTES, which most messages fit; what does not fit goes on in
 * the batch's spill area and is copied together. The number of datagrams asked for follows the
 * traffic. Fewer than asked for means that the socket is empty.
 *
 * With UDP_GRO the kernel may hand over datagrams of one source and one size (the last may be
 * shorter) as one, and says the size: that is cut into messages, which are slices of one block.
 * Once such come, the blocks asked for are of UDP_LARGE_BYTES, so that nothing is copied; what
 * fills less than a quarter of one is copied all the same, so that a message which is kept does not
 * keep much memory that nobody uses. Datagrams of which none is such go back to small blocks.
 *
 * A message is delivered when it is asked for, so a pause in the middle of a batch, or of a
 * datagram that is being cut, keeps the rest.
 *
 * Limits: RECEIVE_BATCH datagrams a call; a batch holds as many blocks (1 MiB while datagrams come
 * together, 32 KiB else), and address space of 1 MiB for the spill, of which only what large
 * datagrams have touched is memory.
 */
#include "pipe/udp_receive.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define DATAGRAM_BYTES  65536 /* no datagram is so large, and nothing that GRO makes of several */
#define UDP_BLOCK_BYTES 2048
#define UDP_LARGE_BYTES DATAGRAM_BYTES
#define UDP_SPILL_BYTES (DATAGRAM_BYTES - UDP_BLOCK_BYTES)
#define RECEIVE_BATCH   16
#define STALE_ERRORS    8
#define CONTROL_BYTES   256 /* the size, and what the owner of a wrapped socket has asked for */

struct control {
    _Alignas(struct cmsghdr) uint8_t bytes[CONTROL_BYTES];
};

struct udp_batch {
    struct mmsghdr headers[RECEIVE_BATCH];
    struct iovec iov[RECEIVE_BATCH][2];
    struct sockaddr_storage from[RECEIVE_BATCH];
    struct control control[RECEIVE_BATCH];
    struct block *blocks[RECEIVE_BATCH];
    uint8_t *spill;
    bool named, gro, large; /* large: of what is asked for next */
    int size, next, count;  /* asked for at a time; next to look at, of count */
    struct slice rest;      /* of a datagram that is being cut, */
    size_t cut;             /* into messages of so many bytes, */
    struct addr source;     /* from there */
    uint64_t dropped;
};

struct udp_batch *udp_batch_new(bool named, bool gro)
{
    struct udp_batch *batch = calloc(1, sizeof(*batch));

    if (batch)
        batch->spill = malloc((size_t)RECEIVE_BATCH * UDP_SPILL_BYTES);
    if (!batch || !batch->spill)
        abort();
    batch->named = named;
    batch->gro = gro;
    batch->size = 1;
    return batch;
}

void udp_batch_free(struct udp_batch *batch)
{
    if (!batch)
        return;
    for (int i = 0; i < RECEIVE_BATCH; i++)
        block_unref(batch->blocks[i]);
    slice_drop(&batch->rest);
    free(batch->spill);
    free(batch);
}

/* --- Filling --- */

/* Gives place i a block of the size that is asked for now. */
static void prepare(struct udp_batch *batch, int i)
{
    uint32_t want = batch->large ? UDP_LARGE_BYTES : UDP_BLOCK_BYTES;
    struct iovec *iov = batch->iov[i];
    struct msghdr *header = &batch->headers[i].msg_hdr;

    if (batch->blocks[i] && batch->blocks[i]->size != want) {
        block_unref(batch->blocks[i]);
        batch->blocks[i] = NULL;
    }
    if (!batch->blocks[i])
        batch->blocks[i] = block_new_sized(want);
    iov[0] = (struct iovec){block_start(batch->blocks[i]), want};
    iov[1] = (struct iovec){batch->spill + (size_t)i * UDP_SPILL_BYTES, UDP_SPILL_BYTES};
    *header = (struct msghdr){.msg_iov = iov, .msg_iovlen = batch->large ? 1 : 2};
    if (batch->gro) {
        header->msg_control = batch->control[i].bytes;
        header->msg_controllen = CONTROL_BYTES;
    }
    if (!batch->named)
        return;
    header->msg_name = &batch->from[i];
    header->msg_namelen = sizeof(batch->from[i]);
}

/* The size of the datagrams of which the kernel made one; 0: of none. */
static size_t segment_bytes(struct msghdr *header)
{
    int size = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c))
        if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO &&
            c->cmsg_len >= CMSG_LEN(sizeof(size)))
            memcpy(&size, CMSG_DATA(c), sizeof(size));
    return size > 0 ? (size_t)size : 0;
}

bool udp_batch_fill(struct udp_batch *batch, int fd)
{
    bool large = false, all;
    int n = -1;

    for (int i = 0; i < batch->size; i++)
        prepare(batch, i);
    /* An error tells of an earlier send; what has been received comes after it. */
    for (int i = 0; i < STALE_ERRORS; i++) {
        n = recvmmsg(fd, batch->headers, (unsigned)batch->size, MSG_DONTWAIT, NULL);
        if (n >= 0 || errno == EAGAIN)
            break;
    }
    all = n == batch->size;
    batch->next = 0;
    batch->count = n > 0 ? n : 0;
    for (int i = 0; i < batch->count && !large; i++)
        large = batch->headers[i].msg_len > UDP_BLOCK_BYTES &&
                segment_bytes(&batch->headers[i].msg_hdr) > 0;
    if (batch->count > 0)
        batch->large = large;
    if (all && batch->size < RECEIVE_BATCH)
        batch->size *= 2;
    else if (batch->count * 4 <= batch->size && batch->size > 1)
        batch->size /= 2;
    return all;
}

/* --- Messages --- */

bool udp_batch_has(const struct udp_batch *batch)
{
    return batch->rest.block || batch->next < batch->count;
}

/* The bytes of datagram i, in its block, or in one of their size. */
static struct slice take_bytes(struct udp_batch *batch, int i)
{
    struct block *block = batch->blocks[i];
    size_t len = batch->headers[i].msg_len, first = len < block->size ? len : block->size;
    struct slice slice;

    if (len <= block->size && (block->size == UDP_BLOCK_BYTES || len >= UDP_LARGE_BYTES / 4)) {
        batch->blocks[i] = NULL; /* the slice's now */
        return (struct slice){block, block_start(block), len};
    }
    slice.block = block_new_sized(len);
    slice.data = block_start(slice.block);
    slice.len = len;
    memcpy(slice.data, block_start(block), first);
    memcpy(slice.data + first, batch->spill + (size_t)i * UDP_SPILL_BYTES, len - first);
    return slice;
}

/* Begins with datagram i: what it holds is the rest, unless it has to be passed over. */
static void begin(struct udp_batch *batch, int i)
{
    struct msghdr *header = &batch->headers[i].msg_hdr;
    size_t segment = segment_bytes(header);
    struct addr named;

    /* Without the size nobody knows where its messages end. */
    if (header->msg_flags & MSG_TRUNC ||
        (batch->gro && header->msg_flags & MSG_CTRUNC && segment == 0)) {
        batch->dropped++;
        return;
    }
    if (batch->named) {
        if (addr_from_sockaddr(header->msg_name, header->msg_namelen, &named) < 0)
            return;
        batch->source = addr_unmap(&named);
    }
    batch->rest = take_bytes(batch, i);
    batch->cut = segment > 0 && segment < batch->rest.len ? segment : batch->rest.len;
}

bool udp_batch_next(struct udp_batch *batch, struct slice *data, struct addr *from)
{
    while (!batch->rest.block) {
        if (batch->next >= batch->count)
            return false;
        begin(batch, batch->next++);
    }
    if (batch->named)
        *from = batch->source;
    if (batch->rest.len <= batch->cut) {
        *data = batch->rest;
        batch->rest = (struct slice){NULL, NULL, 0};
        return true;
    }
    *data = slice_part(&batch->rest, 0, batch->cut);
    batch->rest.data += batch->cut;
    batch->rest.len -= batch->cut;
    return true;
}

uint64_t udp_batch_dropped(const struct udp_batch *batch)
{
    return batch->dropped;
}

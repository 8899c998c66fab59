/* SPDX-License-Identifier: MIT */
/*
 * Errors: every function that can fail returns 0 (or a count) or a negative code: a negated errno,
 * or one of the codes below, which stand outside errno's range. err_text() puts either into plain
 * words.
 */
#ifndef ADIT_BASE_ERR_H
#define ADIT_BASE_ERR_H

#include <errno.h>

enum {
    ADIT_E_FIRST = -10000,
    ADIT_EPROTO = -10000,  /* the peer broke the protocol */
    ADIT_EAUTH = -10001,   /* the peer's key is not the one expected */
    ADIT_EFORMAT = -10002, /* input is malformed */
    ADIT_EFULL = -10003,   /* a table or queue is at its stated maximum */
    ADIT_ECLOSED = -10004, /* the object is closed */
    ADIT_ECRYPTO = -10005, /* the crypto library failed */
    ADIT_EBUSY = -10006,   /* another process holds it */
    ADIT_ETRUNC = -10007,  /* ended in the middle of something */
    ADIT_E_LAST = -10007,
};

/* The text of a negative code (or of 0: "success"). Static storage; never NULL. */
const char *err_text(int code);

#endif

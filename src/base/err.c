/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * One table for the codes of our own, the C library for errno's. strerrordesc_np() is used because
 * its texts are static and free of the locale; a number that nobody knows is "unknown error".
 */
#include "base/err.h"

#include <stddef.h>
#include <string.h>

static const char *const texts[] = {
    [ADIT_EPROTO - ADIT_EPROTO] = "the peer broke the protocol",
    [ADIT_EPROTO - ADIT_EAUTH] = "the peer's key is not the one expected",
    [ADIT_EPROTO - ADIT_EFORMAT] = "malformed input",
    [ADIT_EPROTO - ADIT_EFULL] = "a table or queue is full",
    [ADIT_EPROTO - ADIT_ECLOSED] = "closed",
    [ADIT_EPROTO - ADIT_ECRYPTO] = "the crypto library failed",
    [ADIT_EPROTO - ADIT_EBUSY] = "in use by another process",
    [ADIT_EPROTO - ADIT_ETRUNC] = "ended in the middle",
};

_Static_assert(sizeof texts / sizeof *texts == ADIT_E_FIRST - ADIT_E_LAST + 1,
               "each code has a text");

const char *err_text(int code)
{
    if (code >= 0)
        return "success";
    if (code <= ADIT_E_FIRST && code >= ADIT_E_LAST)
        return texts[ADIT_E_FIRST - code];
    const char *text = code > ADIT_E_FIRST ? strerrordesc_np(-code) : NULL;
    return text != NULL ? text : "unknown error";
}

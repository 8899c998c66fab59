#!/bin/sh
# SPDX-License-Identifier: MIT
# Imports point one way (scripts/layers); and the checker notices when they do not.

set -eu

sh "$srcdir/scripts/check-includes" "$srcdir"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/src/base" "$work/src/session" "$work/src/egress" "$work/lwip-port" "$work/tests" "$work/scripts"
cp "$srcdir/scripts/layers" "$work/scripts/"
: >"$work/src/session/stream.h"
expect_complaint()
{
    if sh "$srcdir/scripts/check-includes" "$work" >"$work/output"; then
        echo "no complaint about: $1" >&2
        exit 1
    fi
    grep -q "$2" "$work/output"
}
echo '#include "session/stream.h"' >"$work/src/base/wrong.c"
expect_complaint "base including session" 'base may not include session'
echo '#include "stream.h"' >"$work/src/base/wrong.c"
expect_complaint "a header not named from src/" 'named from src/'
echo '#  include <openssl/ssl.h>' >"$work/src/base/wrong.c"
expect_complaint "OpenSSL in base" 'may be included only by'
echo '#include "base/absent.h"' >"$work/src/base/wrong.c"
expect_complaint "a header that is not there" 'does not exist'
rm "$work/src/base/wrong.c"
echo '#include "session/stream.h"' >"$work/src/egress/right.c"
sh "$srcdir/scripts/check-includes" "$work"

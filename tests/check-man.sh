#!/bin/sh
# SPDX-License-Identifier: MIT
# mandoc finds nothing to warn about in the manual pages.

set -eu

if [ -z "${MANDOC:-}" ]; then
    echo "skipped: mandoc is not installed (apt-get install mandoc), or was not when configure ran"
    exit 77
fi
found=0
for page in "$srcdir"/docs/*.[1-8]; do
    [ -e "$page" ] || continue
    found=1
    "$MANDOC" -Tlint -Wwarning "$page"
done
if [ "$found" = 0 ]; then
    echo "skipped: there are no manual pages"
    exit 77
fi

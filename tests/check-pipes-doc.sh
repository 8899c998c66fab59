#!/bin/sh
# SPDX-License-Identifier: MIT
# The table of docs/pipes.md names a test for each thing: they must exist. In a cell, `test_x: a`, `b` means
# the cases a and b of tests/unit/test_x.c.
srcdir=${srcdir:-.}
doc=$srcdir/docs/pipes.md
bad=0
list=$(tr '`' '\n' <"$doc" | awk '
    /^test_[a-z_]+: [a-z0-9_]+$/ { file = substr($1, 1, length($1) - 1); print file, $2; next }
    /^(, |; refused without: )$/ { next }
    /^[a-z0-9]+(_[a-z0-9]+)+$/ && file { print file, $0; next }
    { file = "" }')
[ -n "$list" ] || { echo "no tests named in $doc"; exit 1; }
echo "$list" | {
    while read -r file name; do
        [ "$file $name" = "test_x name" ] && continue
        grep -Eq "(TEST|cmocka_unit_test[a-z_]*)\($name[,)]" "$srcdir/tests/unit/$file.c" && continue
        echo "docs/pipes.md names $file: $name, which does not exist"
        bad=1
    done
    exit $bad
}

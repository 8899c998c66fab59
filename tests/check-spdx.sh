#!/bin/sh
# SPDX-License-Identifier: MIT
# Every source file names its licence.

exec sh "$srcdir/scripts/check-spdx" "$srcdir"

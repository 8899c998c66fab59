#!/bin/sh
# SPDX-License-Identifier: MIT
# scripts/fetch-lwip: deb-src entries from both formats of apt's lists, nothing of other archives;
# a wrong or a missing source package is refused with a remedy. No network.

set -eu

fetch=$srcdir/scripts/fetch-lwip
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/apt/sources.list.d"

cat >"$work/apt/sources.list" <<'END'
# deb cdrom:[Debian 12]/ bookworm main
deb http://mirror.example/debian bookworm main contrib # ours
deb-src http://mirror.example/debian bookworm main
deb [ arch=amd64 signed-by=/usr/share/keyrings/a.gpg ] http://other.example/debian/ bookworm main
deb http://mirror.example/debian bookworm-updates main
deb http://security.example/debian-security bookworm-security main
deb http://mirror.example/tools bookworm stable
END
echo 'deb https://packages.example/apt cloud-bookworm main' >"$work/apt/sources.list.d/cloud.list"
cat >"$work/apt/sources.list.d/debian.sources" <<'END'
# The archive
Types: deb
URIs: http://deb822.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb deb-src
URIs: http://deb822.example/debian-security
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: http://disabled.example/debian
Suites: bookworm
Components: main
END
cat >"$work/expected" <<'END'
deb-src http://mirror.example/debian bookworm main contrib
deb-src [ arch=amd64 signed-by=/usr/share/keyrings/a.gpg ] http://other.example/debian/ bookworm main
Types: deb-src
URIs: http://deb822.example/debian
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----

END
sh "$fetch" --show-sources bookworm "$work/apt" | sed 's/ *$//' >"$work/derived"
diff -u "$work/expected" "$work/derived"

# A machine with neither file.
mkdir "$work/empty"
test -z "$(sh "$fetch" --show-sources bookworm "$work/empty")"

# A tarball that is not the pinned one.
echo wrong >"$work/wrong.tar.xz"
if sh "$fetch" --tarball "$work/wrong.tar.xz" "$work/lwip" 2>"$work/message"; then
    echo "a wrong tarball was accepted" >&2
    exit 1
fi
grep -q 'SHA-256 differs' "$work/message"
grep -q 'To mend it' "$work/message"
test ! -e "$work/lwip"

# No package source answers (there is no apt-get that works): three attempts, then the remedy.
mkdir "$work/bin"
printf '#!/bin/sh\necho "E: no network" >&2\nexit 100\n' >"$work/bin/apt-get"
chmod +x "$work/bin/apt-get"
if PATH=$work/bin:$PATH sh "$fetch" "$work/lwip" 2>"$work/message"; then
    echo "success without a source" >&2
    exit 1
fi
grep -q 'To mend it' "$work/message"
test ! -e "$work/lwip"

#!/bin/sh
# SPDX-License-Identifier: MIT
# Every verb, option and key of the configuration is in the manual, the completions and the sample, with the
# right default; and these name nothing else.

set -eu

adit=${ADIT:-./adit}
failed=0
work=$(mktemp -d "${TMPDIR:-/tmp}/adit-docs.XXXXXX")
trap 'rm -rf "$work"' EXIT

complain()
{
    echo "$*"
    failed=1
}

# has FILE WHAT PATTERN
has()
{
    grep -Eq -e "$3" "$srcdir/$1" || complain "$1 lacks $2"
}

# ---- verbs and options

"$adit" help | sed -n 's/^    \([a-z][a-z]*\)  *.*/\1/p' >"$work/verbs"
[ -s "$work/verbs" ] || complain "adit help lists no verbs"
while read -r verb; do
    has docs/adit.1 "the verb $verb" "^\\.It Cm $verb( |\$)"
    has etc/completion/adit.bash "the verb $verb" "(^|[ |\"])$verb([ |\")]|\$)"
    has etc/completion/_adit "the verb $verb" "^ *['\"]$verb:"
    has etc/completion/adit.fish "the verb $verb" "-a $verb "
    "$adit" help "$verb" |
        sed -n 's/^    \(-\(.\), \|    \)--\([a-z-]*\).*/\2 \3/p' | sed 's/^ /- /' >"$work/options"
    while read -r letter name; do
        has docs/adit.1 "the option --$name" "Fl -$name( |\$)"
        has etc/completion/adit.bash "the option --$name" "--$name[ \")]"
        has etc/completion/_adit "the option --$name" "--$name[[}]"
        has etc/completion/adit.fish "the option --$name" "-l $name( |\$)"
        if [ "$letter" != - ]; then
            has docs/adit.1 "the option -$letter" "Fl $letter( |\$)"
            has etc/completion/_adit "the option -$letter" "\\{-$letter,"
            has etc/completion/adit.fish "the option -$letter" "-s $letter "
        fi
        echo "$name" >>"$work/all"
    done <"$work/options"
done <"$work/verbs"
for name in $(grep -Eo 'Fl -[a-z]+[a-z-]*' "$srcdir/docs/adit.1" | sed 's/^Fl -//' | sort -u); do
    grep -qx -e "$name" "$work/all" || [ "$name" = version ] ||
        complain "docs/adit.1 has an option --$name that no verb has"
done

# ---- keys: SECTION.KEY DEFAULT REPEAT USED, from the table, the manual and the sample

tab=$(printf '\t')
"$adit" check --keys | cut -f1,3-5 >"$work/table"
[ -s "$work/table" ] || complain "adit check --keys lists nothing"

awk -v OFS="$tab" '
    function out() { if (key != "") print key, fallback, repeat, used; key = "" }
    /^\.Ss \[/ { out(); section = $2; gsub(/[][\\&]/, "", section) }
    /^\.Sh FILES/ { out(); exit }
    /^\.It Cm .* =/ && section != "" {
        out(); key = section "." $3; fallback = ""; repeat = "once"; used = "used"
    }
    /^Default:/ { getline; fallback = $0; sub(/^\.Ql /, "", fallback); sub(/ \.$/, "", fallback) }
    /^\.Em Repeatable/ { repeat = "repeat" }
    /^\.Em Not used by this version/ { used = "unused" }
' "$srcdir/docs/adit.conf.5" >"$work/manual"

awk -v OFS="$tab" '
    /^#?\[/ { section = $1; gsub(/[][#]/, "", section) }
    /^# .*\)$/ || /^# / { comment = $0 }
    /^#[a-z_]+ = / {
        line = $0
        at = match(line, / +# /)
        if (at) { comment = substr(line, at); line = substr(line, 1, at - 1) }
        key = line; sub(/^#/, "", key); sub(/ = .*/, "", key)
        value = line; sub(/^[^=]* = /, "", value)
        if (comment ~ /[(, ]e\.g\.[,)]/) value = ""
        print section "." key, value, comment ~ /[( ]repeatable[,)]/ ? "repeat" : "once",
            comment ~ /[( ]later\)/ ? "unused" : "used"
        comment = ""
    }
' "$srcdir/etc/adit.conf" >"$work/sample"

diff "$work/table" "$work/manual" >"$work/diff" ||
    { complain "docs/adit.conf.5 differs from adit check --keys:"; cat "$work/diff"; }
diff "$work/table" "$work/sample" >"$work/diff" ||
    { complain "etc/adit.conf differs from adit check --keys:"; cat "$work/diff"; }
for file in adit.bash _adit adit.fish; do
    has "etc/completion/$file" "the keys" "adit check --keys"
done

# ---- the sample is right, as it is and with everything in it switched on

"$adit" check -c "$srcdir/etc/adit.conf" >/dev/null || complain "etc/adit.conf has errors"
sed 's/^#\([a-z_]* = .*\)/\1/; s/^#\[/[/; /^secret_file/d; /^ticket =/d' "$srcdir/etc/adit.conf" \
    >"$work/all.conf"
"$adit" check -c "$work/all.conf" >/dev/null || complain "etc/adit.conf, switched on, has errors"

exit $failed

#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ./quickstart as a user meets it, against a web server on this machine. Prints TAP.

set -uo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
quickstart=$top/quickstart
work=$(mktemp -d)
count=0
failures=0
server_pid=
run_pid=

clean_up()
{
    local pid
    for pid in $run_pid $server_pid; do
        kill -TERM "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
    done
    rm -rf "$work"
}
trap clean_up EXIT

# report NAME STATUS: one test's result; on failure, what the program said.
report()
{
    count=$((count + 1))
    if [ "$2" = 0 ]; then
        echo "ok $count - $1"
        return
    fi
    echo "not ok $count - $1"
    failures=$((failures + 1))
    sed 's/^/#   /' "$work/messages"
}

# Everything that these runs leave behind would be in here.
mkdir "$work/tmp" "$work/www"
export TMPDIR=$work/tmp
head -c 300000 /dev/urandom >"$work/www/file"
mkfifo "$work/server.stdout"
python3 -u -m http.server --bind 127.0.0.1 --directory "$work/www" 0 \
    >"$work/server.stdout" 2>/dev/null </dev/null &
server_pid=$!
read -r server_line <"$work/server.stdout"
port=$(sed 's/.* port \([0-9]*\).*/\1/' <<<"$server_line")
here=(-o exit.allow=127.0.0.0/8)

"$quickstart" --build 2>"$work/messages"
report "quickstart --build" $?

timeout 120 "$quickstart" --once "http://127.0.0.1:$port/file" "${here[@]}" \
    >"$work/body" 2>"$work/messages"
status=$?
cmp -s "$work/body" "$work/www/file" || status=1
report "quickstart --once prints the body and nothing else" $status

timeout 120 "$quickstart" --once "http://127.0.0.1:$port/file" >"$work/body" 2>"$work/messages"
[ $? = 97 ] && [ ! -s "$work/body" ]
report "quickstart --once does not reach this machine unless told to, and says so by curl's status" $?

"$quickstart" --no-such-option 2>"$work/messages"
[ $? = 2 ] && grep -q usage: "$work/messages"
report "quickstart refuses an unknown option" $?

timeout 120 "$quickstart" --once http://127.0.0.1/ -o no.such=key 2>"$work/messages"
[ $? = 1 ] && grep -q no.such "$work/messages"
report "quickstart passes on what adit says about a bad setting" $?

# Until Ctrl-C: a process group of its own, to which SIGINT goes as a terminal sends it.
mkfifo "$work/messages.fifo"
set -m
"$quickstart" "${here[@]}" >"$work/stdout" 2>"$work/messages.fifo" </dev/null &
run_pid=$!
set +m
: >"$work/messages"
proxy=
# Kept open to the end: the script has more to say when it stops.
exec {from_quickstart}<"$work/messages.fifo"
while read -r -t 120 -u "$from_quickstart" line; do
    printf '%s\n' "$line" >>"$work/messages"
    case $line in
    "curl --socks5-hostname "*)
        read -r _ _ proxy _ <<<"$line"
        ;;
    "Ctrl-C "*) break ;;
    esac
done
[ -n "$proxy" ]
report "quickstart says how to use the tunnel" $?
[ -n "$proxy" ] &&
    curl -q -sS --noproxy '' --socks5-hostname "$proxy" "http://127.0.0.1:$port/file" \
        >"$work/body" 2>>"$work/messages" && cmp -s "$work/body" "$work/www/file"
report "the curl line works" $?
kill -INT -- "-$run_pid"
wait "$run_pid"
status=$?
run_pid=
[ "$status" = 0 ] && [ -z "$(ls -A "$work/tmp")" ] &&
    ! curl -q -s --noproxy '' --max-time 5 --socks5-hostname "$proxy" "http://127.0.0.1:$port/" >/dev/null
report "Ctrl-C stops both nodes and leaves nothing behind" $?

echo "1..$count"
[ "$failures" = 0 ]

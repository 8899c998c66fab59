# SPDX-License-Identifier: MIT
"""The verbs that ask a running node, or its state when none runs; and what it tells systemd."""

import json
import os
import re
import signal
import socket

from harness import await_true, check, equal, socks5, test


def ok(t, *argv):
    """The output of an adit verb that must succeed."""
    code, out, err = t.adit(*argv)
    equal(code, 0, f"adit {' '.join(argv)}: {err.strip()}")
    return out


def peers(t, where, *argv):
    return ok(t, "peers", "-c", "/dev/null", *where, *argv)


@test("control: peers listed, renamed, allowed and forgotten, with a node running and without")
def peers_verbs(t):
    stranger = ok(t, "key", "-c", "/dev/null", "--state", t.path("other")).strip()
    e, g = t.pair()
    for running in (True, False):
        if not running:
            equal(e.stop(), 0, "the exit's end")
        known = json.loads(peers(t, e.where(), "--json"))["peers"]
        equal(len(known), 1, "peers of the exit")
        gateway = known[0]["id"]
        check(known[0]["admitted"] and known[0]["how"] == "ticket", known[0])
        peers(t, e.where(), "allow", stranger, "other")
        out = peers(t, e.where(), "list")
        check(re.search(rf"{stranger}\s+other\s+yes", out), out)
        peers(t, e.where(), "rename", "other", "another")
        peers(t, e.where(), "revoke", stranger[:10])
        out = peers(t, e.where())
        check(re.search(rf"{stranger}\s+another\s+revoked", out) and gateway in out, out)
        peers(t, e.where(), "forget", "another")
        check(stranger not in peers(t, e.where()), "forgotten and still there")
        for argv, words in ((("revoke", "nobody"), "nobody"), (("allow", "xyz"), "xyz"),
                            (("rename", gateway, "a b"), "a b")):
            code, _, err = t.adit("peers", "-c", "/dev/null", *e.where(), *argv)
            check(code == 1 and words in err, f"peers {argv}: {code} {err}")
        code, _, err = t.adit("peers", "-c", "/dev/null", *e.where(), "forgive", gateway)
        check(code == 2 and "usage" in err, f"peers forgive: {code} {err}")


@test("control: status --watch goes on, and ends with the node")
def watch(t):
    e, g = t.pair()
    await_true(lambda: g.status()["peers"][0]["state"] == "connected", "the session")
    where = ["-c", "/dev/null", *g.where()]
    p = t.spawn("watch", t.program, "status", "--watch", "--json", *where)
    text = t.spawn("watch-text", t.program, "status", "-w", *where)
    seen = [json.loads(p.expect(r"^\{.*\}$").group(0)) for _ in range(3)]
    check(seen[0]["node"]["uptime_s"] < seen[2]["node"]["uptime_s"], "the same again and again")
    for _ in range(2):
        text.expect(r"path +direct +active .*-> 127\.0\.0\.1:")
    equal(g.stop(), 0, "the gateway's end")
    for watcher in (p, text):
        equal(watcher.wait(10), 1, "exit code of a watcher whose node has gone")
        said = watcher.log.text()  # it may have asked just then
        check("no adit is running" in said or "adit is stopping" in said, said)


@test("control: ping --json, --until-direct, and a peer that is away", timeout=60)
def ping(t):
    e, g = t.pair()
    where = ["-c", "/dev/null", *g.where()]
    rounds = ok(t, "ping", "--json", "-n", "2", "-i", "10ms", *where, e.id).splitlines()
    equal(len(rounds), 2, "lines of two rounds")
    result = json.loads(rounds[1])["results"][0]
    check(result["path"] == "direct" and result["active"] and result["rtt_ms"] > 0, result)
    ok(t, "ping", "--until-direct", *where, e.id[:6])
    # The other way: the exit asks about the gateway, whose name it knows by the ticket's use.
    name = json.loads(peers(t, e.where(), "--json"))["peers"][0]["name"]
    ok(t, "ping", "-n", "1", "-c", "/dev/null", *e.where(), name)
    equal(e.stop(), 0, "the exit's end")
    code, out, err = t.adit("ping", "-n", "1", "-W", "500ms", *where, e.id)
    check(code == 1 and "no path" in out, f"ping of one who is away: {code} {out} {err}")
    for bad in (["-n", "x"], ["-i", "1"], ["-W", "2h"]):
        code, _, err = t.adit("ping", *bad, *where, e.id)
        check(code == 2 and bad[1] in err, f"ping {bad}: {code} {err}")


@test("control: systemd is told READY, RELOADING and STOPPING")
def notify(t):
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.settimeout(20)
    told.bind(t.path("notify"))
    state = t.path("exit")
    e = t.node("exit", state=state, options=["path.listen=127.0.0.1:0"],
               env=dict(os.environ, NOTIFY_SOCKET=t.path("notify")))
    equal(told.recv(1000), b"READY=1", "at the start")
    e.expect(r"^[a-z2-7]{52}$")
    e.p.send_signal(signal.SIGHUP)
    first = told.recv(1000).decode()
    check(re.match(r"RELOADING=1\nMONOTONIC_USEC=\d+$", first), first)
    equal(told.recv(1000), b"READY=1", "after the reload")
    e.p.send_signal(signal.SIGTERM)
    equal(told.recv(1000), b"STOPPING=1", "at the end")
    equal(e.wait(10), 0, "exit code")


@test("control: ticket --refresh withdraws what was given out; --address is what it names")
def refresh(t):
    e = t.exit()
    port = e.status()["listeners"][0]["address"].rsplit(":", 1)[1]
    fresh = t.path("fresh")
    ok(t, "ticket", "-c", "/dev/null", "--refresh", "--address", f"localhost:{port}",
       "--ticket-file", fresh, *e.where())
    equal(os.stat(fresh).st_mode & 0o777, 0o600, "mode of the ticket file")
    old = t.gateway(e.ticket, "path.connect_wait=3s", name="old")
    to = t.server()
    host, port = to.rsplit(":", 1)
    check(socks5(old.socks, host, int(port))[0] != 0, "the withdrawn ticket works")
    old.expect_log("ticket.*not known|does not know.*ticket|ticket")
    new = t.gateway(fresh, name="new")
    equal(socks5(new.socks, host, int(port))[0], 0, "the fresh one, by a host name")
    # Without a running node: the port of the state is named, and the next start knows the secret.
    equal(e.stop(), 0, "the exit's end")
    alone = t.path("alone")
    ok(t, "ticket", "-c", "/dev/null", "-o", "path.listen=127.0.0.1:0", "--ticket-file", alone,
       *e.where())
    again = t.exit(state=e.state)
    third = t.gateway(alone, name="third")
    equal(socks5(third.socks, host, int(port))[0], 0, "a ticket made while no node ran")
    equal(again.id, e.id, "the exit's ID")


@test("control: a second SIGTERM ends a stop that takes its time", timeout=60)
def stop_twice(t):
    e, g = t.pair()
    await_true(lambda: g.status()["peers"][0]["state"] == "connected", "the session")
    e.suspend()  # it hears no farewell, so the gateway waits for it
    try:
        g.p.send_signal(signal.SIGTERM)
        g.expect_log("event=stop ")
        g.p.send_signal(signal.SIGTERM)
        equal(g.wait(20), 0, "exit code of the second stop")
    finally:
        e.resume()

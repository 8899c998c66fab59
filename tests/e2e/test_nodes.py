# SPDX-License-Identifier: MIT
"""Nodes: pairing, the command line's contract, status, reload and stop."""

import os
import re
import signal
import stat
import time

from harness import Failure, await_true, check, equal, free_port, read_to_end, socks5, test
from world import Dns, Web


def works(t, g, to, name="works"):
    t.load("connect", 1, 0.05, to=to, via=g, name=name).result(30)


def refused(t, g, to):
    """That a gateway cannot get out; what its log says of it."""
    p = t.load("connect", 1, 0.05, to=to, via=g, name="refused")
    check(p.wait(30) != 0, "a stream went through that should not have")
    return g.log.text()


# ---- the command line ----------------------------------------------------------------------------

@test("cli: exit codes, help and version")
def codes(t):
    bad = t.write("bad.conf", "[gateway]\nlisten = 127.0.0.1:0\n\n[exit]\nnonsense = 1\n")
    good = t.write("good.conf", "[gateway]\nlisten = 127.0.0.1:0\n[session]\nmemory = 64M\n")
    wrong = t.write("wrong.conf", "[session]\nmemory = many\n")
    for argv, code, words in (
            (["--version"], 0, "adit 0"),
            (["help"], 0, "gateway"),
            (["help", "gateway"], 0, "gateway"),
            (["help", "turn", "send"], 0, "send"),
            (["help", "turn", "nonsense"], 2, "nonsense"),
            ([], 2, "usage"),
            (["nonsense"], 2, "nonsense"),
            (["exit", "--nonsense"], 2, "nonsense"),
            (["exit", "argument"], 2, ""),
            (["help", "nonsense"], 2, "nonsense"),
            (["check", "-c", good], 0, ""),
            (["check", "-c", bad], 78, "bad.conf:5"),
            (["check", "-c", wrong], 78, "wrong.conf:2"),
            (["check", "-c", t.path("missing.conf")], 78, "missing.conf"),
            (["gateway", "-c", bad, "--state", t.path("s")], 78, "bad.conf:5"),
            (["exit", "--state", t.path("s"), "-o", "nonsense.key=1"], 78, "nonsense"),
            (["exit", "--state", t.path("s"), "-o", "path.listen=nowhere"], 78, "path.listen"),
            (["status", "--state", t.path("none"), "-o", f"node.control={t.path('none.sock')}"],
             1, "")):
        got, out, err = t.adit(*argv)
        equal(got, code, f"exit code of adit {' '.join(argv)} ({(out + err).strip()[-300:]})")
        check(words.lower() in (out + err).lower(),
              f"adit {' '.join(argv)} does not say {words!r}: {out + err}")
        if code:
            check(len(err.strip()) > 0, f"adit {' '.join(argv)} failed without a word")


@test("cli: tickets that are damaged, of another version or missing are refused in plain words")
def bad_tickets(t):
    e = t.exit()
    text = open(e.ticket).read().strip()
    flipped = text[:-3] + ("a" if text[-3] != "a" else "b") + text[-2:]
    for what, ticket in (("cut", text[:-5]), ("flipped", flipped), ("upper", text[:20]),
                         ("prefix", "adit9" + text[5:]), ("empty", ""), ("words", "hello world"),
                         ("long", "adit1" + "a" * 100000)):
        path = t.write(f"{what}.ticket", ticket + "\n")
        code, _, err = t.adit("gateway", "-c", "/dev/null", "--state", t.path("g"), "-o",
                              "gateway.listen=127.0.0.1:0", "@" + path)
        check(code in (1, 2, 78), f"{what}: exit code {code}")
        check("ticket" in err.lower(), f"{what}: {err[-500:]}")
        check(len(err) < 4000, f"{what}: {len(err)} bytes of error message")
    code, _, err = t.adit("gateway", "-c", "/dev/null", "--state", t.path("g"), "-o",
                          "gateway.listen=127.0.0.1:0", "@" + t.path("missing"))
    check(code in (1, 2) and "missing" in err, f"a missing ticket file: {code} {err}")
    code, _, err = t.adit("gateway", "-c", "/dev/null", "--state", t.path("g2"), "-o",
                          "gateway.listen=127.0.0.1:0")
    check(code in (1, 2, 78) and "ticket" in err.lower(), f"no ticket at all: {code} {err}")


@test("cli: one process per state directory")
def lock(t):
    e = t.exit()
    code, _, err = t.adit("exit", "-c", "/dev/null", "--state", e.state, "-o",
                          "path.listen=127.0.0.1:0", "-o", f"node.control={t.path('other.sock')}")
    equal(code, 1, "exit code of a second process")
    check(e.state in err, f"it says: {err}")
    check(e.running(), "the first one runs on")


@test("cli: secrets stay secret: argv, files, log")
def secrets(t):
    dns = Dns(t, {"secret-name.adit.test": ["127.0.0.1"]})
    web = Web(t)
    e = t.exit(f"exit.resolver={dns.address}")
    text = open(e.ticket).read().strip()
    equal(stat.S_IMODE(os.stat(e.ticket).st_mode), 0o600, "mode of the ticket file")
    equal(stat.S_IMODE(os.stat(e.state).st_mode), 0o700, "mode of the state directory")
    for root, _, files in os.walk(e.state):
        for name in files:
            mode = stat.S_IMODE(os.stat(os.path.join(root, name)).st_mode)
            equal(mode & 0o077, 0, f"mode {mode:o} of {name}")
    # a ticket given as an argument
    g = t.node("gateway", text, options=["gateway.listen=127.0.0.1:0", "path.listen=127.0.0.1:0"])
    g.socks = t.ready(g)
    with open(f"/proc/{g.pid}/cmdline", "rb") as f:
        check(text.encode()[5:] not in f.read(), "the ticket can be read in argv")
    reply, s = socks5(g.socks, "secret-name.adit.test", web.port)
    equal(reply, 0, "SOCKS reply")
    s.sendall(b"GET / HTTP/1.0\r\n\r\n")
    read_to_end(s)
    for n in (e, g):
        check("secret-name" not in n.log.text(), f"the {n.name}'s log names a destination")
        check(text[5:40] not in n.log.text(), f"the {n.name}'s log has the ticket")
    check("adit1" not in "\n".join(e.out.lines), "the ticket was printed, and not to a terminal")


@test("cli: the ticket from standard input and printed on request; key")
def ticket_ways(t):
    e = t.node("exit", "--print-ticket", options=["path.listen=127.0.0.1:0",
                                                  "exit.allow=127.0.0.0/8"])
    ticket = e.expect(r"^ticket: (adit1\S+)$").group(1)
    g = t.node("gateway", "-", options=["gateway.listen=127.0.0.1:0", "path.listen=127.0.0.1:0"],
               stdin=-1)
    g.p.stdin.write(ticket.encode() + b"\n")
    g.p.stdin.close()
    g.socks = t.ready(g)
    works(t, g, t.server())
    code, out, err = t.adit("key", "-c", "/dev/null", *e.where())
    ids = re.findall(r"\b[a-z2-7]{52}\b", out)
    check(code == 0 and len(ids) == 1, f"adit key: {code} {out} {err}")


# ---- pairing -------------------------------------------------------------------------------------

@test("pairing: a ticket is good once; a second gateway is told why not")
def used_ticket(t):
    e, g = t.pair()
    to = t.server()
    works(t, g, to)
    g2 = t.gateway(e.ticket, "path.connect_wait=3s", name="second")
    log = refused(t, g2, to)
    check(re.search("ticket.*(used|once)|(used|once).*ticket", log), f"its log says: {log}")
    works(t, g, to)


@test("pairing: an expired ticket is refused in plain words")
def expired_ticket(t):
    e = t.exit()
    ticket = t.expired_ticket(e)
    options = ["gateway.listen=127.0.0.1:0", "path.listen=127.0.0.1:0", "path.connect_wait=3s"]
    g = t.node("gateway", "@" + ticket, options=options)
    try:
        g.socks = t.ready(g)
    except Failure:  # to refuse it at once is just as good
        check(g.wait(5) in (1, 2), "its exit code")
        check("expired" in g.log.text(), g.log.text())
        g.ended_well = 0
        return
    log = refused(t, g, t.server())
    check("expired" in log, f"its log says: {log}")


@test("pairing: a ticket for several gateways, and one without end")
def many_uses(t):
    e = t.exit()
    ticket = t.ticket(e, "--uses", "2")
    to = t.server()
    for i in range(2):
        works(t, t.gateway(ticket, name=f"gateway{i}"), to)
    g = t.gateway(ticket, "path.connect_wait=3s", name="third")
    refused(t, g, to)


@test("pairing: a wrong key behind the right address is refused")
def wrong_key(t):
    where = f"127.0.0.1:{free_port()}"
    e = t.exit(listen=where)
    ticket = e.ticket
    e.stop()
    e2 = t.exit(name="impostor", listen=where)
    g = t.gateway(ticket, "path.connect_wait=2s")
    refused(t, g, t.server())
    check(e2.running(), "the other exit runs")


@test("pairing: revoke ends live sessions, allow admits again")
def revoke(t):
    e, g = t.pair()
    to = t.server()
    held = t.held(to, via=g, pause=10)
    code, out, err = t.adit("peers", "-c", "/dev/null", *e.where())
    equal(code, 0, f"adit peers: {err}")
    ids = [i for i in re.findall(r"\b[a-z2-7]{8,52}\b", out) if e.id != i]
    _, key, _ = t.adit("key", "-c", "/dev/null", *g.where())
    gateway_id = re.search(r"\b[a-z2-7]{52}\b", key).group(0)
    check(any(gateway_id.startswith(i) for i in ids), f"adit peers does not list it: {out}")
    code, _, err = t.adit("peers", "revoke", gateway_id, "-c", "/dev/null", *e.where())
    equal(code, 0, f"adit peers revoke: {err}")
    began = time.monotonic()
    check(held.wait(10) != 0, "the echo ended well")
    t.note(f"live stream ended {(time.monotonic() - began) * 1e3:.0f} ms after the revocation")
    log = refused(t, g, to)
    check("revoke" in log or "not admitted" in log, f"the gateway's log says: {log}")
    code, _, err = t.adit("peers", "allow", gateway_id, "-c", "/dev/null", *e.where())
    equal(code, 0, f"adit peers allow: {err}")

    def again():
        p = t.load("connect", 1, 0.05, to=to, via=g, name="again")
        return p.wait(30) == 0
    await_true(again, "admitted again", 30)


@test("pairing: both ends found a session at once; each uses the other", timeout=90)
def both(t):
    ports = [free_port(), free_port()]
    to = t.server()
    ids, states = [], []
    for i in range(2):
        state = t.path(f"node{i}")
        code, out, err = t.adit("key", "-c", "/dev/null", "--state", state, "-o",
                                f"node.control={state}.sock")
        equal(code, 0, f"adit key: {err}")
        ids.append(re.search(r"\b[a-z2-7]{52}\b", out).group(0))
        states.append(state)
    tickets = []
    for i in range(2):
        code, out, err = t.adit("ticket", "-c", "/dev/null", "--state", states[i], "-o",
                                f"node.control={states[i]}.sock", "-o",
                                f"path.listen=127.0.0.1:{ports[i]}")
        equal(code, 0, f"adit ticket: {err}")
        tickets.append(re.search(r"adit1\S+", out).group(0))
    nodes = []
    for i in range(2):
        conf = t.write(f"node{i}.conf", f"""[node]
control = {states[i]}.sock
[path]
listen = 127.0.0.1:{ports[i]}
[gateway]
listen = 127.0.0.1:0
exit = other
[exit]
allow = 127.0.0.0/8
[peer other]
id = {ids[1 - i]}
ticket = {tickets[1 - i]}
admit = yes
""")
        os.chmod(conf, 0o600)
        n = t.spawn_node("node", "-c", conf, "--state", states[i], name=f"node{i}", state=states[i])
        nodes.append(n)
    for n in nodes:
        n.socks = t.ready(n)
    for _ in range(3):
        loads = [t.load("bulk", way, 50 << 20, 4, "--verify", to=to, via=n, name=way)
                 for n in nodes for way in ("down", "up")]
        for p in loads:
            p.result()
    for n in nodes:
        peers = n.status()["peers"]
        equal(len(peers), 1, f"peers of {n.name}")


# ---- control -------------------------------------------------------------------------------------

@test("control: status, status --json, ping")
def status(t):
    e, g = t.pair()
    to = t.server()
    held = t.load("idle", 3, to=to, via=g, name="held", stdin=-1)
    held.expect("^ready")
    for n in (g, e):
        s = n.status()
        for key in ("node", "memory", "listeners", "peers"):
            check(key in s, f"status of the {n.name} has no {key!r}: {s}")
        equal(len(s["peers"]), 1, f"peers of the {n.name}")
        text = str(s)
        check("rtt" in text and "direct" in text, f"no path in the status: {text}")
        code, out, err = t.adit("status", "-c", "/dev/null", *n.where())
        check(code == 0 and "direct" in out, f"adit status: {code} {out} {err}")
    code, out, err = t.adit("ping", "-c", "/dev/null", *g.where(), e.id[:8])
    check(code == 0 and re.search(r"\d+(\.\d+)? ?(ms|us)", out), f"adit ping: {code} {out} {err}")
    code, out, err = t.adit("ping", "-c", "/dev/null", *g.where(), "nobody")
    check(code in (1, 2) and "nobody" in err, f"adit ping nobody: {code} {out} {err}")
    mode = stat.S_IMODE(os.stat(f"{g.state}.sock").st_mode)
    equal(mode & 0o077, 0, f"mode {mode:o} of the control socket")


@test("control: SIGHUP takes over new rules and drops no stream")
def reload(t):
    conf = t.write("exit.conf", "[exit]\nallow = 127.0.0.0/8\n")
    state = t.path("exit")
    e = t.spawn_node("exit", "-c", conf, "--state", state, "-o", f"node.control={state}.sock", "-o",
                     "path.listen=127.0.0.1:0", "--ticket-file", t.path("ticket"), name="exit",
                     state=state)
    e.expect(r"[a-z2-7]{52}")
    await_true(lambda: os.path.exists(t.path("ticket")), "the ticket")
    g = t.gateway(t.path("ticket"))
    web = Web(t)
    to = t.server()
    held = t.held(to, via=g, pause=5)
    t.write("exit.conf", "[exit]\nallow = 127.0.0.0/8\ndeny = 127.0.0.1:%d\n" % web.port)
    equal(socks5(g.socks, "127.0.0.1", web.port)[0], 0, "before the reload")
    e.p.send_signal(signal.SIGHUP)
    await_true(lambda: socks5(g.socks, "127.0.0.1", web.port)[0] == 2, "the new rule", 10)
    t.write("exit.conf", "[exit]\nnonsense\n")
    e.p.send_signal(signal.SIGHUP)
    e.expect_log("exit.conf:2")
    g.p.send_signal(signal.SIGHUP)
    g.expect_log("event=reloaded")
    check(e.running() and g.running() and held.running(), "all run on")
    held.p.terminate()
    held.result()


@test("control: SIGINT stops cleanly too, and nothing is left on disk that should not be")
def sigint(t):
    e, g = t.pair()
    for n in (g, e):
        equal(n.stop(signal.SIGINT), 0, f"exit code of the {n.name}")
        check(not os.path.exists(f"{n.state}.sock"), "the control socket is left behind")

# SPDX-License-Identifier: MIT
"""What the user sees of peers: who is connected, who may connect and for how long, and why there is
no connection: in the page of the proxy, in the status and in the log."""

import contextlib
import json
import os
import re
import time

from harness import await_true, check, connect, equal, free_port, need, read_to_end, socks5, test


def ok(t, *argv):
    code, out, err = t.adit(*argv)
    equal(code, 0, f"adit {' '.join(argv)}: {err.strip()}")
    return out


def peers(t, node, *argv):
    return ok(t, "peers", "-c", "/dev/null", *node.where(), *argv)


def peer_list(t, node):
    return json.loads(peers(t, node, "--json"))["peers"]


def page(gateway, host="127.0.0.1:9"):
    """(head, text) of the answer to a plain HTTP request through the gateway."""
    with connect(gateway.socks) as s:
        s.sendall(f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n"
                  "Connection: close\r\n\r\n".encode())
        head, _, text = read_to_end(s).decode().partition("\r\n\r\n")
    return head, text


def expect_reason(t, gateway, words, since, seconds=5):
    """The reason reaches the page, the log (as one warning) and the status within `seconds`."""
    limit = seconds * t.slow
    gateway.log.expect(rf"warn event=no-path-to-exit .*why=\".*(?:{words})", limit, "the warning")
    head, text = page(gateway)
    check(re.search(words, text), f"the page does not say {words!r}: {text}")
    check(re.search(rf"^Proxy-Status: adit; error=.*; details=\".*(?:{words})", head, re.M), head)
    check(time.monotonic() - since < limit, f"it took {time.monotonic() - since:.1f} s")
    exit_peer = next(p for p in gateway.status()["peers"] if p["exit"])
    check(re.search(words, exit_peer["problem"]), f"the status says {exit_peer['problem']!r}")
    human = ok(t, "status", "-c", "/dev/null", *gateway.where())
    check(re.search(rf"problem +.*(?:{words})", human), human)


class Broker:
    """A mosquitto of our own on loopback; user: (name, password)."""

    def __init__(self, t, user=None):
        self.t, self.user, self.port = t, user, free_port()
        lines = ["user root", "persistence false", f"listener {self.port} 127.0.0.1",
                 f"allow_anonymous {'false' if user else 'true'}"]
        if user:
            users = t.write("users", "")
            t.run(need("mosquitto_passwd"), "-b", users, *user)
            lines.append(f"password_file {users}")
        self.conf = t.write("mosquitto.conf", "\n".join((*lines, "")))
        self.start()

    def start(self):
        self.p = self.t.spawn("mosquitto", need("mosquitto"), "-c", self.conf)
        self.p.expect_log(r"mosquitto version \S+ running")

    def url(self, password=None):
        login = f"{self.user[0]}:{password or self.user[1]}@" if self.user else ""
        return f"mqtt://{login}127.0.0.1:{self.port}"


def broker_status(node):
    return node.status()["brokers"][0]


def warnings(gateway):
    return [line for line in gateway.log.lines if "event=no-path-to-exit" in line]


@test("peers: the list says who is connected, by which path, since when; those first")
def live_list(t):
    e, g = t.pair()
    await_true(lambda: g.status()["peers"][0]["state"] == "connected", "the session")
    peers(t, e, "allow", ok(t, "key", "-c", "/dev/null", "--state", t.path("x")).strip(), "absent")
    first, second = peer_list(t, e)
    check(first["connected"] and first["path"] == "direct" and first["streams"] == 0
          and first["connected_s"] >= 0 and first["paths"] >= 1, first)
    check(not second["connected"] and second["name"] == "absent" and second["admitted"], second)
    host, port = t.server().rsplit(":", 1)
    with socks5(g.socks, host, int(port))[1]:
        await_true(lambda: peer_list(t, e)[0]["streams"] == 1, "the stream in the list")
        text = peers(t, e)
        check(re.search(r"^\w{52}  \S+ +yes +direct +\S+ ms +1 +\d+s", text, re.M), text)
    equal(g.stop(), 0, "the gateway's end")
    await_true(lambda: not any(p["connected"] for p in peer_list(t, e)), "the end in the list")
    equal(e.stop(), 0, "the exit's end")
    equal(len(peer_list(t, e)), 2, "peers without a running node")
    check("yes       no " in peers(t, e), "without a running node")


@test("peers: an admission that is for a time ends by itself, and can be given again")
def expiry(t):
    e, g = t.pair()
    to = t.server().rsplit(":", 1)
    await_true(lambda: g.status()["peers"][0]["state"] == "connected", "the session")
    _, stream = socks5(g.socks, to[0], int(to[1]))
    gateway = peer_list(t, e)[0]["id"]
    out = peers(t, e, "expire", gateway, "2s")
    began = time.monotonic()
    check(re.search(r"^admitted: \w{52}.*, until \d{4}-", out), out)
    check(re.search(r"for [12]s", peers(t, e)), peers(t, e))
    with contextlib.suppress(ConnectionResetError):
        equal(stream.recv(1), b"", "the live stream's end")
    took = time.monotonic() - began
    check(1 < took < 2 + 1.5 * t.slow, f"the stream ended after {took:.1f} s")
    e.expect_log(r"event=admission-expired")
    expect_reason(t, g, "admission has expired", time.monotonic())
    check("expired" in peers(t, e), "the list does not say expired")
    check(peer_list(t, e)[0]["expired"], "nor the JSON")
    peers(t, e, "expire", gateway, "never")
    await_true(lambda: socks5(g.socks, to[0], int(to[1]))[0] == 0, "service again", 40)
    for argv, words in ((["expire", gateway, "soon"], "soon"), (["expire", gateway], "usage"),
                        (["revoke", gateway, "--for", "1h"], "belongs")):
        code, _, err = t.adit("peers", "-c", "/dev/null", *e.where(), *argv)
        check(code == 2 and words in err, f"peers {argv}: {code} {err}")


@test("peers: a ticket says how long those whom it admits stay admitted")
def admit_for(t):
    e = t.exit()
    ticket = t.path("brief")
    ok(t, "ticket", "-c", "/dev/null", "--admit-for", "2s", "--ticket-file", ticket, *e.where())
    g = t.gateway(ticket)
    await_true(lambda: g.status()["peers"][0]["state"] == "connected", "the session")
    entry = peer_list(t, e)[0]
    check(entry["admitted"] and 0 < entry["expires"] - time.time() <= 2.1, entry)
    e.expect_log(r"event=admission-expired")
    expect_reason(t, g, "admission has expired", time.monotonic())
    equal(g.stop(), 0, "the gateway's end")
    again = t.gateway(e.ticket, state=g.state, name="again")
    await_true(lambda: again.status()["peers"][0]["state"] == "connected", "by another ticket")


@test("reasons: the exit does not run; one warning says so, not one a round", timeout=60)
def not_running(t):
    e = t.exit()
    equal(e.stop(), 0, "the exit's end")
    began = time.monotonic()
    g = t.gateway(e.ticket, "path.connect_wait=1s")
    expect_reason(t, g, "does the peer run", began)
    head, text = page(g)
    check(head.startswith("HTTP/1.1 503") and "`adit status' on the gateway" in text, head)
    equal(socks5(g.socks, "127.0.0.1", 9)[0], 3, "SOCKS: network unreachable")
    rounds = g.status()["peers"][0]["failed_tries"]
    await_true(lambda: page(g) and g.status()["peers"][0]["failed_tries"] >= rounds + 3,
               "further rounds", 30)
    equal(len(warnings(g)), 1, "warnings of one reason")
    equal(sum("event=requests-fail" in line for line in g.log.lines), 1, "lines of failed requests")


@test("reasons: the ticket has expired, is used up, is withdrawn; admission was revoked")
def refusals(t):
    e = t.exit()
    tickets = {}
    for name, argv in {"expired": ["--expires", "1s"], "used up": [], "not known": []}.items():
        tickets[name] = t.path(name.replace(" ", "-") + ".ticket")
        ok(t, "ticket", "-c", "/dev/null", *argv, "--ticket-file", tickets[name], *e.where())
    first = t.gateway(tickets["used up"], name="first")
    await_true(lambda: first.status()["peers"][0]["state"] == "connected", "the first's session")
    made = time.monotonic()
    for name, words in {"used up": "used up: ask", "expired": "has expired: ask"}.items():
        if name == "expired":
            await_true(lambda: time.monotonic() - made > 1.2, "the ticket's end")
        began = time.monotonic()
        expect_reason(t, t.gateway(tickets[name], name=name.replace(" ", "-")), words, began)
    ok(t, "ticket", "-c", "/dev/null", "--refresh", "--ticket-file", t.path("new"), *e.where())
    began = time.monotonic()
    expect_reason(t, t.gateway(tickets["not known"], name="not-known"),
                  "does not know this ticket: ask", began)
    entry = next(p for p in peer_list(t, e) if p["connected"])
    peers(t, e, "revoke", entry["id"])
    expect_reason(t, first, "revoked this node's admission", time.monotonic())
    equal(socks5(first.socks, "127.0.0.1", 9)[0], 2, "SOCKS: not allowed")


@test("reasons: by a broker: the exit does not run, then it does, then the broker does not",
      timeout=120)
def by_broker(t):
    broker = Broker(t, ("adit", "pa/ss"))
    url = broker.url("pa%2Fss")
    e = t.exit(f"signal.broker={url}")
    with open(f"/proc/{e.pid}/cmdline", "rb") as f:
        check(b"pa%2Fss" not in f.read(), "the password can be read in the exit's arguments")
    listen = e.status()["listeners"][0]["address"]
    equal(e.stop(), 0, "the exit's end")
    began = time.monotonic()
    g = t.gateway(e.ticket)
    expect_reason(t, g, "is not running, or is not on these brokers", began, 6)
    equal(len(warnings(g)), 1, "warnings of one reason")
    equal(broker_status(g)["state"], "up", "the broker of the ticket")
    human = ok(t, "status", "-c", "/dev/null", *g.where())
    check(re.search(rf"^broker +mqtt://127.0.0.1:{broker.port}  up, \d+ messages", human, re.M),
          human)
    again = t.exit(f"signal.broker={url}", state=e.state, listen=listen, name="again")
    await_true(lambda: g.status()["peers"][0]["state"] == "connected", "the session", 10 * t.slow)
    entry = peer_list(t, g)[0]
    equal(entry["brokers"], [f"mqtt://adit:***@127.0.0.1:{broker.port}"], "what is shown of it")
    check("pa%2Fss" in open(f"{g.state}/peers.json").read(), "the state lost the password")
    equal(os.stat(f"{g.state}/peers.json").st_mode & 0o777, 0o600, "mode of peers.json")
    equal(g.stop(), 0, "the gateway's end")
    equal(again.stop(), 0, "the exit's end")
    # The next start has no ticket: it asks at the broker that it remembers, which is down.
    broker.p.kill()
    began = time.monotonic()
    g = t.gateway(None, state=g.state, name="later")
    expect_reason(t, g, "nothing listens at the port of the broker", began, 6)
    check(broker_status(g)["state"] != "up" and broker_status(g)["failures"] > 0, broker_status(g))
    for node in (e, g, again):
        check("pa%2Fss" not in node.log.text() and "pa/ss" not in node.log.text(), "in a log")


@test("reasons: the broker refuses the password", timeout=60)
def broker_refuses(t):
    broker = Broker(t, ("adit", "right"))
    e = t.exit(f"signal.broker={broker.url('wrong')}")
    e.expect_log(r"broker-down .*user name or password")
    equal(e.stop(), 0, "the exit's end")
    began = time.monotonic()
    g = t.gateway(e.ticket)
    expect_reason(t, g, "the broker refused the user name or password", began, 6)
    human = ok(t, "status", "-c", "/dev/null", *g.where())
    check(re.search(r"^broker .*waiting: the broker refused .*; next try in", human, re.M), human)
    check("wrong" not in human + g.log.text(), "the password is shown")


@test("reasons: refused by way of a broker: ticket expired, used up, revoked; then allowed",
      timeout=90)
def refused_by_broker(t):
    broker = Broker(t)
    e = t.exit(f"signal.broker={broker.url()}")
    tickets = {}
    for name, argv in {"expired": ["--expires", "1s"], "used up": []}.items():
        tickets[name] = t.path(name.replace(" ", "-") + ".ticket")
        ok(t, "ticket", "-c", "/dev/null", *argv, "--ticket-file", tickets[name], *e.where())
    made = time.monotonic()
    first = t.gateway(tickets["used up"], name="first")
    await_true(lambda: first.status()["peers"][0]["state"] == "connected", "the session",
               20 * t.slow)
    for name in ("used up", "expired"):
        await_true(lambda: time.monotonic() - made > 2, "the ticket's end")
        began = time.monotonic()
        g = t.gateway(tickets[name], "path.fail=direct", name=name.replace(" ", "-"))
        expect_reason(t, g, "used up: ask" if name == "used up" else "has expired: ask", began)
    equal(first.stop(), 0, "the first's end")
    peers(t, e, "revoke", peer_list(t, e)[0]["id"])
    check(re.search("  revoked +no ", peers(t, e)), "the list does not say that it is revoked")
    began = time.monotonic()
    g = t.gateway(None, "path.fail=direct", state=first.state, name="revoked")
    expect_reason(t, g, "revoked this node's admission", began)
    check(g.status()["signalling"]["received"] > 0, "it did not come by the broker")
    check("event=refused by=broker peer=" in e.log.text(), "the exit does not say whom it refused")
    # Its owner thinks better of it: that is told, so nobody waits for the next try, in 30 s.
    equal(g.stop(), 0, "the revoked one's end")
    g = t.gateway(None, state=first.state, name="patient")
    g.expect_log("event=no-path-to-exit .*revoked this node's admission")
    began = time.monotonic()
    peers(t, e, "allow", g.status()["node"]["id"])
    await_true(lambda: g.status()["peers"][0]["state"] == "connected", "the session", 10 * t.slow)
    check(time.monotonic() - began < 10 * t.slow, "it waited for its own next try")


@test("key: exported to a new file only, imported where no node runs, the old one put aside")
def key_copies(t):
    e = t.exit()
    state, backup = ["--state", t.path("new")], t.path("backup")
    equal(ok(t, "key", "-c", "/dev/null", "--export", backup, *e.where()).strip(), e.id, "the ID")
    equal(os.stat(backup).st_mode & 0o777, 0o600, "mode of the copy")
    other = ok(t, "key", "-c", "/dev/null", *state).strip()

    def refused(words, code, *argv):
        got, out, err = t.adit("key", "-c", "/dev/null", *argv)
        check(got == code and words in err and not out, f"key {argv}: {got} {out} {err}")

    refused("File exists", 1, "--export", backup, *e.where())
    refused("is a key already", 1, "--import", backup, *state)
    refused("no key file", 1, "--import", t.path("nothing"), *state)
    refused("belongs to --import", 2, "--force", *state)
    refused("either", 2, "--export", backup, "--import", backup, *state)
    os.chmod(backup, 0o644)
    refused("others", 1, "--import", backup, "--force", *state)
    os.chmod(backup, 0o600)
    bad = t.write("bad", "no key")
    os.chmod(bad, 0o600)
    refused("Ed25519", 1, "--import", bad, "--force", *state)
    equal(ok(t, "key", "-c", "/dev/null", *state).strip(), other, "the key after refusals")
    refused("is using", 1, "--import", backup, "--force", *e.where())
    equal(ok(t, "key", "-c", "/dev/null", "--import", backup, "--force", *state).strip(), e.id,
          "the key imported")
    equal(ok(t, "key", "-c", "/dev/null", *state).strip(), e.id, "the key afterwards")
    old = t.path(f"new/key-{other[:12]}.old")
    equal(os.stat(old).st_mode & 0o777, 0o600, "mode of the old key")
    refused("this key already", 1, "--import", backup, "--force", *state)
    fresh = ["--state", t.path("fresh")]
    equal(ok(t, "key", "-c", "/dev/null", "--import", old, *fresh).strip(), other, "the old key")
    # An exit that moved: known by its key at its new place, too.
    port = e.status()["listeners"][0]["address"].rsplit(":", 1)[1]
    g = t.gateway(e.ticket)
    await_true(lambda: g.status()["peers"][0]["state"] == "connected", "the session")
    gateway = peer_list(t, e)[0]["id"]
    equal(e.stop(), 0, "the exit's end")
    ok(t, "peers", "-c", "/dev/null", *state, "allow", gateway)
    moved = t.exit(state=t.path("new"), listen=f"127.0.0.1:{port}", name="moved")
    equal(moved.id, e.id, "the ID at the new place")
    await_true(lambda: g.status()["peers"][0]["state"] == "connected", "the session again", 40)

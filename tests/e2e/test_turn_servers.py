# SPDX-License-Identifier: MIT
"""adit turn with other implementations than coturn: ProcessOne's p1_stun, Pion, node-turn, and the
clients of aioice, Pion and coturn. tests/interop has the small programs that run them; docs/turn.md
what they do differently. What is not installed is skipped: Pion wants Debian's
golang-github-pion-turn.v2-dev and golang-go, node-turn its directory in ADIT_NODE_MODULES.
"""

import os
import re
import subprocess
import sys
import time

from harness import Skip, await_true, check, equal, need, test
from turn_space import (PEER, SERVER, SERVER6, Listener, Space, advised, certificate, login, probe,
                        send, yes)

INTEROP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "interop")
GOCODE = "/usr/share/gocode"
UDP, TCP, TLS = f"turn:{SERVER}?transport=udp", f"turn:{SERVER}?transport=tcp", f"turns:{SERVER}"


class P1:
    """The engine of eturnal and ejabberd, in Erlang."""
    name, software, legs, families = "p1_stun", "p1_stun", (UDP, TCP, TLS), 2

    def __init__(self, space, cert, key):
        both = space.t.write("both.pem", open(cert).read() + open(key).read())
        if not os.path.isdir("/usr/lib/erlang/lib") or not any(
                name.startswith("p1_stun") for name in os.listdir("/usr/lib/erlang/lib")):
            raise Skip("erlang-p1-stun is not installed")
        self.argv = [need("escript"), f"{INTEROP}/p1_server.escript", SERVER, SERVER6, both]
        self.env = dict(os.environ, HOME=space.t.dir)


class Pion:
    """The library of many WebRTC servers, in Go."""
    name, software, legs, families = "pion", "?", (UDP, TCP, TLS), 1

    def __init__(self, space, cert, key):
        self.argv = [pion(space.t), "serve", SERVER, cert, key]
        self.env = None


class NodeTurn:
    """In JavaScript. What it does to allocations that are refreshed, no client survives for long
    (docs/turn.md), so there is no test of its restart."""
    name, software, legs, families = "node-turn", "?", (UDP,), 1

    def __init__(self, space, cert, key):
        modules = os.environ.get("ADIT_NODE_MODULES")
        if not modules or not os.path.isdir(f"{modules}/node-turn"):
            raise Skip("ADIT_NODE_MODULES names no directory with node-turn")
        self.argv = [need("node"), f"{INTEROP}/node_turn.js", SERVER]
        self.env = dict(os.environ, NODE_PATH=modules)


def pion(t):
    """The program of tests/interop/pion.go, built."""
    program = t.path("pion")
    go = need("go")
    if not os.path.isdir(f"{GOCODE}/src/github.com/pion/turn/v2"):
        raise Skip("golang-github-pion-turn.v2-dev is not installed")
    if not os.path.exists(program):
        t.run(go, "build", "-o", program, f"{INTEROP}/pion.go", seconds=120,
              env=dict(os.environ, GO111MODULE="off", GOPATH=GOCODE, GOFLAGS="",
                       GOCACHE=t.path("gocache"), HOME=t.dir))
    return program


def ready(space, server):
    p = space.spawn(server.name, *server.argv, env=server.env)
    p.expect("^ready$", 30)
    return p


class World:
    """A server of one kind, in a namespace of its own."""

    def __init__(self, t, kind):
        self.t, self.kind, self.space = t, kind, Space(t)
        self.cert, key = certificate(t)
        self.server = kind(self.space, self.cert, key)
        self.p = ready(self.space, self.server)

    def restart(self):
        self.p.kill()
        self.p = ready(self.space, self.server)

    def listen(self, *argv, server):
        return Listener(self.space, "--ca-file", self.cert, *argv, server=server)

    def send(self, to, *argv, server, **kw):
        return send(self.space, to, "--ca-file", self.cert, *argv, server=server, **kw)


class Lines:
    """A process that sends what it is told line by line."""

    def __init__(self, space, name, *argv):
        self.name = name
        self.p = space.spawn(name, *argv, stdin=subprocess.PIPE)

    def say(self, text):
        self.p.p.stdin.write(text.encode() + b"\n")
        self.p.p.stdin.flush()

    def stop(self):
        self.p.p.stdin.close()
        equal(self.p.wait(20), 0, f"exit code of {self.name}")


def transport(leg):
    return {UDP: "udp", TCP: "tcp", TLS: "tls"}[leg]


def offers(t, kind):
    """What the probe says of a server of this kind, right password and wrong."""
    world = World(t, kind)
    result = probe(world.space, "--ca-file", world.cert, SERVER, time_="500ms")
    equal([x["transport"] for x in result["legs"] if x["reachable"]["yes"]],
          [transport(x) for x in kind.legs], "legs that can be reached")
    for leg in result["legs"][:len(kind.legs)]:
        yes(leg, "login", "relay_ipv4", "permission", "permission_own")
        equal("relay_ipv6" in leg and leg["relay_ipv6"]["yes"], kind.families == 2, "relay by IPv6")
        if kind is NodeTurn:  # its allocations do not live as long as that is measured
            continue
        flow = leg["throughput"]
        check(flow["mbit"] > 1 and flow["largest"] >= 1448, flow)
        t.note(f"{leg['transport']} {flow['mbit']:.0f} Mbit/s")
    for leg in kind.legs:
        result = probe(world.space, "--ca-file", world.cert, leg, password="wrong", code=1)
        advised(result, "refuses this user or password")
    check(world.p.running(), f"the probe has ended {kind.name}")


def transfers(t, kind):
    """Texts and a file by every pair of legs."""
    world = World(t, kind)
    data = os.urandom(20_000_000 if t.long or not t.sanitized else 5_000_000)
    file = t.write("a file", data)
    for to, by in zip(kind.legs, kind.legs[1:] + kind.legs[:1]):
        listener = world.listen(server=to)
        world.send(listener.address, "first", file, "last", server=by)
        listener.p.expect(": first$")
        rate = listener.p.expect(r": file a file, \d+ bytes, (\S+ \S+), sha256").group(1)
        listener.p.expect(": last$")
        listener.has("a file", data)
        listener.stop()
        t.note(f"{transport(by)} to {transport(to)} {rate}")


def restarts(t, kind):
    """The server dies and comes back, and knows nobody: there is another address soon."""
    world = World(t, kind)
    for leg in kind.legs:
        listener = world.listen(server=leg)
        world.send(listener.address, "before", server=leg)
        listener.p.expect(": before$")
        began = time.monotonic()
        world.restart()
        address = listener.p.expect(r"^address: (\S+)$", 30 * t.slow).group(1)
        t.note(f"{transport(leg)} {time.monotonic() - began:.1f} s")
        world.send(address, "after", server=leg)
        listener.p.expect(": after$")
        listener.stop()


def refusals(t, kind):
    """A wrong password, and a peer that it does not relay to."""
    world = World(t, kind)
    wrong = t.write("wrong", "nonsense")
    for leg in kind.legs:
        code, _, err = world.space.adit("send", "-c", "/dev/null", "--user", "alice", "--password-file",
                                        wrong, "--ca-file", world.cert, "--server", leg, "--to",
                                        "10.9.0.1:1", "hello", seconds=30)
        check(code == 1 and "check both" in err, err)
        _, err = world.send("10.9.0.77:1234", "hello", server=leg, code=1)
        check("may not relay to 10.9.0.77" in err, err)


def plain_sender(space, cert, to, leg):
    return Lines(space, "send", space.t.program, "turn", "send", "-vv", *login(space.t), "--ca-file",
                 cert, "--server", leg, "--plain", "--to", to)


def lifetimes(t, kind):
    """Single messages for eleven minutes: permissions last five, channels and allocations ten."""
    world = World(t, kind)
    pairs = []
    for leg in (UDP, TLS):
        listener = world.listen("--plain", "--accept", SERVER, server=leg)
        pairs.append((listener, plain_sender(world.space, world.cert, listener.address, leg)))
        pairs[-1][1].p.expect_log("turn-allocated relayed=")
    for n in range(132):
        time.sleep(5)
        for listener, sender in pairs:
            sender.say(f"message {n}")
            listener.p.expect(f": message {n}$", 2)
    for listener, sender in pairs:
        sender.stop()
        listener.stop()
        equal(listener.p.out.text().count("address: "), 1, "addresses of the listener")


for kind in (P1, Pion):
    test(f"turn with {kind.name}: past the lifetimes", timeout=300, long=True)(
        lambda t, kind=kind: lifetimes(t, kind))
for kind in (P1, Pion, NodeTurn):
    for what, function in (("probe", offers), ("messages and a file", transfers),
                           ("refusals", refusals), ("a server that is restarted", restarts)):
        if kind is not NodeTurn or function in (offers, transfers):
            test(f"turn with {kind.name}: {what}", timeout=120)(
                lambda t, function=function, kind=kind: function(t, kind))


# ---- other clients -------------------------------------------------------------------------------

def aioice(t, leg):
    for python in (sys.executable, "/usr/bin/python3"):
        if os.access(python, os.X_OK) and t.run(python, "-c", "import aioice", ok=False)[0] == 0:
            return [python, f"{INTEROP}/aioice_client.py", SERVER, "5349" if leg == TLS else "3478",
                    transport(leg)]
    raise Skip("python3-aioice is not installed")


def pion_client(t, leg):
    return [pion(t), "client", SERVER, "5349" if leg == TLS else "3478", transport(leg)]


def talk(t, client_argv):
    """Plain messages both ways between another client and ours, by every leg of coturn's."""
    need("turnserver", "ss")
    space = Space(t)
    cert, key = certificate(t)
    argvs = {leg: client_argv(t, leg) for leg in (UDP, TCP, TLS)}
    space.coturn(f"--cert={cert}", f"--pkey={key}")
    texts = "short", "odd length", "x" * 1201
    for by, to in ((UDP, TCP), (TCP, TLS), (TLS, UDP)):
        other = Lines(space, "client", *argvs[by])
        address = other.p.expect(r"^relayed (\S+)$").group(1)
        listener = Listener(space, "--ca-file", cert, "--plain", "--accept", SERVER, server=to)
        for text in texts:
            other.say(f"{listener.address} {text}")
            listener.p.expect(f"^{re.escape(address)}: {text}$")
        listener.stop()
        sender = plain_sender(space, cert, address, to)
        ours = sender.p.expect_log(r"turn-allocated relayed=([\d.:]+)").group(1)
        # They hear only whom they have sent something, and aioice only after its ChannelBind.
        other.say(f"{ours} hello")
        other.p.expect(f"^sent {re.escape(ours)}$")
        for text in texts:
            sender.say("re: " + text)
            other.p.expect(f"^{re.escape(ours)} re: {text}$")
        sender.stop()
        other.stop()


@test("turn with aioice: plain messages both ways", timeout=60)
def with_aioice(t):
    talk(t, aioice)


@test("turn with pion's client: plain messages both ways", timeout=60)
def with_pion_client(t):
    talk(t, pion_client)


@test("turn with turnutils_uclient: its messages arrive", timeout=60)
def with_uclient(t):
    client = need("turnutils_uclient")
    need("turnserver", "ss")
    space = Space(t)
    space.coturn()
    for options, leg in ((["-s"], UDP), (["-t"], TCP)):
        listener = Listener(space, "--plain", "--accept", SERVER, server=leg)
        host, port = listener.address.rsplit(":", 1)
        p = space.spawn("uclient", client, "-u", "alice", "-w", "secret", "-n", "5", "-m", "1", "-c",
                        *options, "-e", host, "-r", port, SERVER)
        for _ in range(5):
            listener.p.expect(r"^[\d.]+:\d+: ")
        p.kill()  # it waits for echoes
        listener.stop()

# SPDX-License-Identifier: MIT
"""adit forward: ports through a peer, and from it."""

import os
import re
import signal
import socket

from harness import (await_true, check, connect, equal, free_port, read_to_end, split_address,
                     test)
from traffic import Traffic
from world import Net, Sshd, Web


def spawn(t, *argv, state, options=(), ns=None, name="forward"):
    """The verb, running; `address` is where it says that somebody listens."""
    more = [x for o in options for x in ("-o", o)]
    return t.spawn_node("forward", "-c", "/dev/null", "--state", state, "-o",
                        f"node.control={state}.sock", *more, *argv, state=state, ns=ns,
                        name=t.unique(name))


def forward(t, *argv, **kw):
    n = spawn(t, *argv, **kw)
    n.address = n.expect(r"^ready: (.*)$", 20 * t.slow).group(1)
    return n


def alone(t, *argv, name="alone", **kw):
    return forward(t, *argv, state=t.path(name), options=["path.listen=127.0.0.1:0"], name=name,
                   **kw)


def refusal(t, *argv, state):
    """Exit code and words of a forward that cannot be."""
    code, out, err = t.adit("forward", "-c", "/dev/null", "--state", state, "-o",
                            f"node.control={state}.sock", "-o", "path.listen=127.0.0.1:0", *argv)
    return code, err


def get(address, path="/who"):
    """The body of an HTTP answer, through (host, port) or the path of a unix socket."""
    where = address[5:] if address.startswith("unix:") else split_address(address)
    with connect(where) as s:
        s.sendall(f"GET {path} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
        return read_to_end(s).split(b"\r\n\r\n", 1)[1].decode()


def is_closed(address):
    try:
        connect(split_address(address), 1).close()
    except OSError:
        return True
    return False


def web(t):
    t.write("who", "it")
    return Web(t)


def forwards(node):
    return {f["listen"]: f for f in node.status()["forwards"]}


# ---- from here -----------------------------------------------------------------------------------

@test("forward: a port, alone and by a ticket; port 0, IPv6, a unix socket")
def local(t):
    server, e = web(t), t.exit()
    to = f"127.0.0.1:{server.port}"
    n = alone(t, "0", "@" + e.ticket, to)
    check(re.fullmatch(r"127\.0\.0\.1:[1-9]\d*", n.address), f"ready at {n.address}")
    equal(get(n.address), "it", "by the port")
    equal(n.stop(signal.SIGINT), 0, "exit code after Ctrl-C")
    check(is_closed(n.address), "the port is closed")
    # the peer is known now
    state = t.path("alone")
    for listen, host in (("[::1]:0", to), ("127.0.0.2:0", f"localhost:{server.port}"),
                         ("unix:" + t.path("socket"), to)):
        n = forward(t, listen, e.id, host, state=state, options=["path.listen=127.0.0.1:0"])
        equal(get(n.address), "it", listen)
        equal(n.status()["node"]["roles"], ["forward"], "roles")
        n.stop()
    check(not os.path.exists(t.path("socket")), "the unix socket is removed")


@test("forward: bytes both ways, half-close, and many at once")
def bytes_through(t):
    e = t.exit()
    to = t.server()
    n = alone(t, "0", "@" + e.ticket, to)
    for way in ("down", "up"):
        r = t.load("bulk", way, 8 << 20, 4, "--verify", to=n.address).result(60)
        check(r["complete"], f"{way}: {r}")
    t.load("connect", 20, 0.5, to=n.address).result(30)
    # a server that answers only when it has seen the end
    listener = socket.create_server(("127.0.0.1", 0))
    t.undo.append(listener.close)
    n.stop()
    n = forward(t, "0", e.id, "127.0.0.1:%d" % listener.getsockname()[1], state=n.state,
                options=["path.listen=127.0.0.1:0"])
    with connect(split_address(n.address)) as s:
        far, _ = listener.accept()
        with far:
            s.sendall(b"question")
            s.shutdown(socket.SHUT_WR)
            equal(read_to_end(far), b"question", "what the server got, to its end")
            far.sendall(b"answer")
        equal(read_to_end(s), b"answer", "what came back after our end")


@test("forward: by a running node, whose status shows it; it ends with the command")
def held(t):
    server = web(t)
    e, g = t.pair()
    n = forward(t, "0", e.id[:8], f"127.0.0.1:{server.port}", state=g.state)
    equal(get(n.address), "it", "by the port")
    f = forwards(g)[n.address]
    equal((f["kind"], f["peer_id"], f["listening"], f["opened"], f["failed"], f["configured"]),
          ("local", e.id, True, 1, 0, False), "the status")
    code, text, _ = t.adit("status", *g.where())
    check(f"forward   {n.address} -> 127.0.0.1:{server.port}" in text, text)
    second = forward(t, "0", e.id, f"127.0.0.1:{server.port}", state=g.state)
    equal(get(second.address), "it", "by the second")
    # a connection that is open when the command ends
    s = connect(split_address(n.address))
    equal(n.stop(signal.SIGINT), 0, "exit code after Ctrl-C")
    await_true(lambda: is_closed(n.address), "the port is closed", 5)
    try:
        equal(s.recv(1), b"", "the connection has ended")
    except ConnectionResetError:
        pass
    equal(list(forwards(g)), [second.address], "forwards that are left")
    second.p.kill()
    second.p.wait()
    second.ended_well = 0
    await_true(lambda: is_closed(second.address), "the port of one that was killed", 5)
    # the node ends before the command
    third = forward(t, "0", e.id, f"127.0.0.1:{server.port}", state=g.state)
    g.stop()
    equal(third.wait(10), 1, "exit code when the node has ended")
    third.ended_well = 0
    check("ended" in third.log.text() or "stopping" in third.log.text(), third.log.text())


@test("forward: what cannot be is told in plain words")
def cannot(t):
    server = web(t)
    e = t.exit(allow=())
    closed = free_port()
    n = alone(t, "0", "@" + e.ticket, f"127.0.0.1:{server.port}")
    try:
        equal(connect(split_address(n.address)).recv(1), b"", "a connection that policy forbids")
    except ConnectionResetError:
        pass
    await_true(lambda: "policy" in forwards(n)[n.address]["problem"], "the problem", 5)
    n.expect_log("policy")
    for argv, code, words in (
            (["0", "nobody", "127.0.0.1:1"], 1, "nobody"),
            (["nonsense", e.id, "127.0.0.1:1"], 2, "nonsense"),
            (["0", e.id, "127.0.0.1"], 2, "HOST:PORT"),
            (["0", e.id], 2, "missing"),
            (["70000", e.id, "127.0.0.1:1"], 2, "70000"),
            ([n.address, e.id, "127.0.0.1:1"], 1, "choose another port"),
            (["192.0.2.1:%d" % closed, e.id, "127.0.0.1:1"], 1, "192.0.2.1"),
            (["--reverse", "unix:/x", e.id, "127.0.0.1:1"], 2, "address and port"),
            (["0", "adit1aaaa", "127.0.0.1:1"], 1, "ticket")):
        got, err = refusal(t, *argv, state=n.state)
        equal(got, code, f"exit code of {argv}: {err}")
        check(words in err, f"{argv}: {err}")


# ---- from there ----------------------------------------------------------------------------------

def reverse_exit(t, *rules, **kw):
    return t.exit(*(f"exit.reverse={r}" for r in rules), "path.dial_retry=50ms", **kw)


def lent(e):
    return {x["address"]: x for x in e.status()["listening_for_peers"]}


@test("forward: from a peer to this machine, two at once, alone and by a running node")
def reverse(t):
    server, e = web(t), reverse_exit(t, "127.0.0.1", "::1")
    to = f"localhost:{server.port}"
    g = t.gateway(e.ticket)
    n = forward(t, "--reverse", "0", e.id, to, state=g.state)
    six = forward(t, "-R", "[::1]:0", e.id, to, state=g.state)
    own = alone(t, "--reverse", "0", "@" + t.ticket(e), to)
    for x in (n, six, own):
        equal(get(x.address), "it", f"by {x.address}")
    equal(len({n.address, six.address, own.address}), 3, "different ports")
    here = lent(e)
    equal(sorted(here), sorted((n.address, six.address, own.address)), "the exit's status")
    equal((here[n.address]["accepted"], here[n.address]["peer_id"] == here[six.address]["peer_id"],
           here[n.address]["peer_id"] == here[own.address]["peer_id"]), (1, True, False), "of whom")
    code, text, _ = t.adit("status", *e.where())
    check(f"lent      {n.address}" in text, text)
    f = forwards(g)[n.address]
    equal((f["kind"], f["listening"], f["opened"], f["problem"]), ("reverse", True, 1, ""),
          "the status")
    n.stop(signal.SIGINT)
    await_true(lambda: is_closed(n.address), "the port is closed with the command", 5)
    equal(get(six.address), "it", "the other goes on")
    own.stop()
    await_true(lambda: is_closed(own.address), "the port is closed with the node", 5)
    # nobody at HOST:PORT here
    n = forward(t, "--reverse", "0", e.id, f"127.0.0.1:{free_port()}", state=g.state)
    try:
        equal(connect(split_address(n.address)).recv(1), b"", "a connection to nobody")
    except ConnectionResetError:
        pass
    n.expect_log("refused by the destination")


@test("forward: a peer listens only where its owner allows it, and says what to do")
def refused(t):
    port, taken = free_port(), socket.create_server(("127.0.0.1", 0))
    t.undo.append(taken.close)
    busy = "127.0.0.1:%d" % taken.getsockname()[1]
    e, none = reverse_exit(t, f"127.0.0.1:{port}", busy, "192.0.2.1"), t.exit(name="none")
    g = t.gateway(e.ticket)
    for state in (g.state, t.path("own")):
        argv = ["@" + t.ticket(e)] if state != g.state else [e.id]
        for listen, words in (
                ("127.0.0.1:9", "-o exit.reverse=127.0.0.1:9"),
                ("[::1]:9", "-o exit.reverse=[::1]:9"),
                ("0", "-o exit.reverse=127.0.0.1"),
                (busy, "somebody else listens"),
                ("192.0.2.1:9", "no address 192.0.2.1")):
            code, err = refusal(t, "--reverse", listen, *argv, "127.0.0.1:1", state=state)
            equal(code, 1, f"exit code of {listen}: {err}")
            check(words in err, f"{listen}: {err}")
            argv = [e.id]
    code, err = refusal(t, "--reverse", "0", "@" + none.ticket, "127.0.0.1:1", state=t.path("own"))
    check(code == 1 and "exit.reverse" in err, f"an exit that allows nothing: {err}")
    n = forward(t, "--reverse", str(port), e.id, "127.0.0.1:1", state=g.state)
    equal(n.address, f"127.0.0.1:{port}", "where it listens")


@test("forward: a revocation ends a peer's listeners and their connections within a second")
def revoked(t):
    e = reverse_exit(t, "127.0.0.1")
    g = t.gateway(e.ticket)
    echo = t.server()
    n = forward(t, "--reverse", "0", e.id, echo, state=g.state)
    s = connect(split_address(n.address))
    me = t.adit("key", "--state", g.state)[1].strip()
    equal(t.adit("peers", "revoke", me, *e.where())[0], 0, "adit peers revoke")
    s.settimeout(1)
    try:
        equal(s.recv(1), b"", "the connection has ended")
    except ConnectionResetError:
        pass
    check(is_closed(n.address), "the port is closed")
    equal(e.status()["listening_for_peers"], [], "the exit's status")
    n.expect_log("no longer listens")
    # and back
    equal(t.adit("peers", "allow", me, *e.where())[0], 0, "adit peers allow")
    t.adit("ping", e.id, *g.where())
    await_true(lambda: not is_closed(n.address), "it listens again", 30)


@test("forward: the exit restarts, and a reverse forward listens again at the same port",
      timeout=90)
def restarted(t):
    server, e = web(t), reverse_exit(t, "127.0.0.1")
    n = alone(t, "--reverse", "0", "@" + e.ticket, f"127.0.0.1:{server.port}")
    for stop in (lambda: e.stop(), lambda: e.kill()):
        stop()
        check(is_closed(n.address), "nobody listens")
        e = reverse_exit(t, "127.0.0.1", state=e.state)

        def served():
            try:
                return get(n.address) == "it"
            except (OSError, IndexError):
                return False
        await_true(served, "it listens again", 30 * t.slow)
    # what starts anew, while the peer still holds the session of before, gets its port too
    port = split_address(n.address)[1]
    n.kill()
    n = forward(t, "--reverse", str(port), e.id, f"127.0.0.1:{server.port}", state=n.state,
                options=["path.listen=127.0.0.1:0"])
    equal(get(n.address), "it", "after a crash")


# ---- the configuration ---------------------------------------------------------------------------

@test("forward: those of the configuration, reloaded; other connections stay")
def configured(t):
    server, e = web(t), reverse_exit(t, "127.0.0.1")
    to, ports = f"127.0.0.1:{server.port}", [free_port() for _ in range(3)]
    conf = t.path("node.conf")

    def write(*lines):
        t.write("node.conf", "[path]\nlisten = 127.0.0.1:0\ndial_retry = 50ms\n[forward]\n"
                + "".join(x + "\n" for x in lines) + f"[peer home]\nticket = {secret}\n")
    secret = open(e.ticket).read().strip()
    keep = f"local = {ports[0]} -> home {t.server()}"
    write(keep, f"reverse = {ports[1]} -> home {to}")
    os.chmod(conf, 0o600)
    state = t.path("node")
    n = t.spawn_node("node", "-c", conf, "--state", state, "-o", f"node.control={state}.sock",
                     state=state, name="node")
    await_true(lambda: os.path.exists(state + ".sock") and len(forwards(n)) == 2 and
               all(f["listening"] for f in forwards(n).values()), "both listen", 20 * t.slow)
    equal(get(f"127.0.0.1:{ports[1]}"), "it", "the reverse one")
    p = t.held(f"127.0.0.1:{ports[0]}", pause=2)

    def reload():
        return t.adit("check", "-c", conf)[0], n.p.send_signal(signal.SIGHUP)
    write(keep, f"local = {ports[2]} -> home {to}")
    reload()
    await_true(lambda: set(forwards(n)) == {f"127.0.0.1:{x}" for x in (ports[0], ports[2])},
               "the new ones", 10)
    equal(get(f"127.0.0.1:{ports[2]}"), "it", "the new one")
    await_true(lambda: is_closed(f"127.0.0.1:{ports[1]}"), "the old one is closed", 5)
    # one that cannot be: nothing changes
    write(f"local = {ports[2]} -> home {to}", f"local = {ports[1]} -> nobody {to}")
    reload()
    n.expect_log("nobody")
    equal(set(forwards(n)), {f"127.0.0.1:{x}" for x in (ports[0], ports[2])}, "all as before")
    # the same place leads elsewhere
    write(keep, f"local = {ports[2]} -> home 127.0.0.1:{free_port()}")
    reload()
    await_true(lambda: forwards(n)[f"127.0.0.1:{ports[2]}"]["to"] != to, "elsewhere", 10)
    check(p.running(), "the echo broke")
    p.p.terminate()
    p.result(10)
    for text, words in (("local = x -> home a:1", "no address"), ("local = 1 -> home", "forward"),
                        ("reverse = unix:/x -> home a:1", "address and port"),
                        ("local = 1 home a:1", "->")):
        write(text)
        code, _, err = t.adit("check", "-c", conf)
        check(code == 78 and words in err, f"{text}: {code} {err}")


@test("forward: a peer has sixteen listeners, and no more")
def sixteen(t):
    e = reverse_exit(t, "127.0.0.1")
    t.write("node.conf", "[path]\nlisten = 127.0.0.1:0\n[forward]\n"
            + "reverse = 0 -> home 127.0.0.1:1\n" * 17
            + f"[peer home]\nticket = {open(e.ticket).read()}\n")
    state = t.path("node")
    n = t.spawn_node("node", "-c", t.path("node.conf"), "--state", state, "-o",
                     f"node.control={state}.sock", state=state, name="node")
    n.expect_log("limit")
    await_true(lambda: len(lent(e)) == 16, "sixteen", 10)
    equal(sorted(f["listening"] for f in n.status()["forwards"]), [False] + [True] * 16, "of 17")


# ---- while the network changes -------------------------------------------------------------------

@test("forward: transfers both ways while paths are cut and come back", timeout=150)
def cut(t):
    net = Net(t)
    e, g, relay = net.relayed_pair(exit_options=["exit.reverse=127.0.0.1"])
    n = forward(t, "0", e.id, t.server(ns=net.exit, listen=f"{net.EXIT}:0"), state=g.state,
                ns=net.client)
    back = forward(t, "--reverse", "0", e.id, t.server(ns=net.client), state=g.state,
                   ns=net.client)
    size = (200 if t.sanitized else 600) << 20
    there = Traffic(t, n.address, None, net.client, size, (0.2, 0.4, 0.6))
    home = Traffic(t, back.address, None, net.exit, size, ())
    there.await_mark()
    relay.kill(reset=True)
    there.await_mark()
    relay.stall()
    there.await_mark()
    relay.shut()
    await_true(lambda: g.status()["peers"][0]["state"] == "held", "no path", 10)
    relay.open()
    there.finish()
    home.finish()
    check(relay.made >= 4, f"{relay.made} path connections were made in all")


@test("forward: ssh, while the path is cut")
def ssh(t):
    net = Net(t)
    sshd = Sshd(t, 2200, ns=net.exit)
    e, g, relay = net.relayed_pair(exit_options=["exit.allow=127.0.0.0/8"])
    n = forward(t, "0", e.id, "127.0.0.1:2200", state=g.state, ns=net.client)
    shell = t.spawn("ssh", *sshd.login(split_address(n.address)[1]),
                    "while read -r x; do echo got $x; done", ns=net.client, stdin=-1)
    for i in range(3):
        shell.p.stdin.write(b"%d\n" % i)
        shell.p.stdin.flush()
        shell.expect(f"^got {i}$", 20 * t.slow)
        check(relay.kill(reset=i == 0) > 0, "there was a path to cut")
    shell.p.stdin.close()
    equal(shell.wait(20), 0, "ssh's exit code")

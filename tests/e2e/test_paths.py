# SPDX-License-Identifier: MIT
"""Paths come and go; streams stay. In each of these a big download, a big upload and an
interactive echo run at once; every byte is checked, and how long each was silent is printed."""

import time

from harness import await_true, check, equal, test
from traffic import Traffic
from world import Net


def size_for(t):
    return (1 << 30) if t.long and not t.sanitized else (200 if t.sanitized else 600) << 20


def start(t, net, g, marks):
    to = t.server(ns=net.exit, listen=f"{net.EXIT}:0")
    return Traffic(t, to, g, net.client, size_for(t), marks)


def held(t, net, g):
    """The server's address, and an echo to it that goes on."""
    to = t.server(ns=net.exit, listen=f"{net.EXIT}:0")
    return to, t.held(to, via=g, ns=net.client)


def through_outage(t, net, g, seconds, off, on, more):
    """In mid transfer something is away for so long; `more` s later traffic goes on."""
    traffic = start(t, net, g, (0.4,))
    traffic.await_mark()
    traffic.outage(seconds, off, on)
    limit(t, traffic.finish(), seconds + more)


def limit(t, results, seconds):
    worst = max(results.values()) / 1e3
    check(worst < seconds * (2 if t.sanitized else 1),
          f"silent for {worst:.1f} s, {seconds} s allowed")


@test("paths: the connection is reset five times in mid transfer", timeout=120)
def killed(t):
    net = Net(t)
    e, g, relay = net.relayed_pair()
    traffic = start(t, net, g, (0.1, 0.3, 0.5, 0.7, 0.9))
    for i in range(5):
        traffic.await_mark()
        check(relay.kill(reset=i % 2 == 0) > 0, "there was a connection to cut")
    limit(t, traffic.finish(), 3)
    check(relay.made >= 6, f"{relay.made} path connections were made in all")


@test("paths: the connection falls silent in mid transfer; a new one would work", timeout=120)
def silent(t):
    net = Net(t)
    e, g, relay = net.relayed_pair()
    traffic = start(t, net, g, (0.3, 0.7))
    for _ in range(2):
        traffic.await_mark()
        relay.stall()
    limit(t, traffic.finish(), 5)


@test("paths: the connection hangs for a second and goes on", timeout=120)
def hangs(t):
    net = Net(t)
    e, g, relay = net.relayed_pair()
    through_outage(t, net, g, 1, relay.stall, relay.resume, more=4)


@test("paths: nothing gets through for 5 s and new connections are refused", timeout=120)
def refused(t):
    net = Net(t)
    e, g, relay = net.relayed_pair()
    through_outage(t, net, g, 5, relay.shut, relay.open, more=5)


@test("paths: interface down for 5 s and up again", timeout=120)
def interface_down(t):
    net = Net(t)
    e, g = net.pair()
    through_outage(t, net, g, 5, net.cut, net.restore, more=4)


@test("paths: the network loses everything for 5 s", timeout=120)
def black_hole(t):
    net = Net(t)
    e, g = net.pair()
    through_outage(t, net, g, 5, lambda: net.forward(False), lambda: net.forward(True), more=4)


@test("paths: the network loses everything for 60 s", timeout=240, long=True)
def black_hole_long(t):
    net = Net(t)
    e, g = net.pair()
    through_outage(t, net, g, 60, lambda: net.forward(False), lambda: net.forward(True), more=6)


@test("paths: the gateway's address changes twice", timeout=120)
def renumbered(t):
    net = Net(t)
    e, g = net.pair()
    traffic = start(t, net, g, (0.3, 0.7))
    for address in ("10.203.1.77", "10.203.1.78"):
        traffic.await_mark()
        net.renumber(address)
    limit(t, traffic.finish(), 5)


@test("paths: an idle session whose path died silently works when it is next used", timeout=60)
def idle_death(t):
    net = Net(t)
    e, g, relay = net.relayed_pair()
    to = t.server(ns=net.exit, listen=f"{net.EXIT}:0")
    held = t.load("idle", 3, to=to, via=g, ns=net.client, name="held", stdin=-1)
    held.expect("^ready")
    relay.stall()
    began = time.monotonic()
    held.p.stdin.write(b"x")
    held.p.stdin.flush()
    held.expect("^proven", 10 * t.slow)
    t.note(f"an echo after {time.monotonic() - began:.2f} s")
    held.p.stdin.close()
    held.result()


@test("paths: the exit is killed and restarted; its streams fail at once, new ones work")
def exit_killed(t):
    net = Net(t)
    e, g = net.pair()
    to, echo = held(t, net, g)
    e.kill()
    await_true(lambda: g.status()["peers"][0]["state"] == "held", "no path")
    check(echo.running(), "a stream failed before the exit was back: the path alone was lost")
    e2 = t.exit(ns=net.exit, listen=f"{net.EXIT}:0", allow=("10.203.0.0/16",), state=e.state)
    began = time.monotonic()
    check(echo.wait(10 * t.slow) != 0, "the echo ended well")
    failed = time.monotonic() - began
    t.load("connect", 4, 0.2, to=to, via=g, ns=net.client, name="new").result(20)
    t.note(f"old streams failed {failed * 1e3:.0f} ms after the exit was back, new ones worked "
           f"after {(time.monotonic() - began) * 1e3:.0f} ms")
    check(failed < 5 * t.slow, "too late")
    check(e2.running(), "the exit runs")


@test("paths: the exit stops cleanly; its streams fail at once")
def exit_stopped(t):
    e, g = t.pair()
    to = t.server()
    echo = t.held(to, via=g)
    began = time.monotonic()
    equal(e.stop(), 0, "the exit's exit code")
    check(echo.wait(10) != 0, "the echo ended well")
    t.note(f"after {(time.monotonic() - began) * 1e3:.0f} ms")
    check(time.monotonic() - began < 3 * t.slow, "too late")


@test("paths: the gateway stops cleanly and starts again without a ticket")
def gateway_restarted(t):
    e, g = t.pair()
    to = t.server()
    held = t.load("idle", 20, to=to, via=g, name="held", stdin=-1)
    held.expect("^ready")
    began = time.monotonic()
    equal(g.stop(), 0, "the gateway's exit code, with streams open")
    took = time.monotonic() - began
    check(took < 3 * t.slow, f"the gateway took {took:.1f} s to stop")
    g2 = t.gateway(None, state=g.state)
    t.load("connect", 4, 0.2, to=to, via=g2, name="new").result(20)
    check(e.running(), "the exit runs")


@test("paths: streams fail when the hold time is over")
def hold(t):
    net = Net(t)
    e, g, relay = net.relayed_pair(exit_options=["path.hold=2s"], gateway_options=["path.hold=2s"])
    to, echo = held(t, net, g)
    relay.shut()
    began = time.monotonic()
    check(echo.wait(20) != 0, "the echo ended well")
    took = time.monotonic() - began
    check(1 < took < 10, f"held for {took:.1f} s, path.hold being 2 s")
    relay.open()
    t.load("connect", 4, 0.2, to=to, via=g, ns=net.client, name="new").result(30)
    t.note(f"held for {took:.1f} s of 2")


@test("paths: SIGSTOP of the gateway for 3 s costs nothing but the time", timeout=120)
def stopped_process(t):
    net = Net(t)
    e, g = net.pair()
    through_outage(t, net, g, 3, g.suspend, g.resume, more=3)

# SPDX-License-Identifier: MIT
"""Nodes that find each other by MQTT brokers, real ones: reverse connect, broken brokers, several
nodes at once, and how long a first byte takes."""

import functools
import math
import re
import statistics
import time

from harness import await_true, check, equal, read_exactly, socks5
from lab import LOOPBACK, Link, Nat, lab_test
from test_nat import PAGE, each_kind
from world import within

signal_test = functools.partial(lab_test, signalling=True)
HARD = "apd/apd/random"


def page(lab, host, gateway, seconds=20):
    equal(host.fetch(gateway, lab.web.url("/hello"), seconds), PAGE, "a page through the exit")


def hidden_exit(lab, brokers, link=None, exit_options=(), gateway_options=()):
    """An exit behind the hardest NAT and a gateway with a public address: (site, exit, gateway)."""
    site = lab.site("exit", nat=Nat(HARD), link=link or Link(delay=5, rate="250m"))
    exit = site.host("e").exit(*exit_options, brokers=brokers, allow=LOOPBACK)
    gateway = lab.site("gateway").host("g").gateway(exit, *gateway_options)
    return site, exit, gateway


# ---- who finds whom ------------------------------------------------------------------------------

@signal_test("signal: exit behind a NAT, public gateway: the exit connects", families=(4, 6))
def reverse(lab):
    _, exit, gateway = hidden_exit(lab, [lab.broker()])
    page(lab, gateway.host, gateway)
    check("reverse" in str(gateway.status()), f"not by reverse connect: {gateway.status()}")
    lab.measure(gateway, at=()).finish()


@signal_test("signal: gateway behind a NAT, public exit, found by a broker only", families=(4, 6))
def found(lab):
    broker = lab.broker()
    e = lab.site("exit").host("e")
    exit = e.exit(brokers=[broker], listen="[::]:7000")
    exit.stop()
    e.renumber()  # what the ticket says of addresses is wrong
    exit = e.exit(brokers=[broker], listen="[::]:7000", state=exit.state)
    g = lab.site("home", nat=Nat(HARD)).host("g")
    stale = open(exit.state + ".ticket").read()
    gateway = g.gateway(lab.t.write("stale.ticket", stale))
    page(lab, g, gateway)
    lab.measure(gateway, at=()).finish()


@signal_test("signal: one LAN behind a NAT that has no hairpin", families=(4, 6))
def one_lan(lab):
    home = lab.site("home", nat=Nat(HARD))
    exit = home.host("e").exit(brokers=[lab.broker()])
    g = home.host("g")
    page(lab, g, g.gateway(exit))


@signal_test("signal: an exit behind every kind of NAT connects to a public gateway", timeout=240,
             families=(4,))
def reverse_kinds(lab):
    broker = lab.broker()
    site = lab.site("exit", nat=Nat(), link=Link(delay=5))
    e, g = site.host("e"), lab.site("gateway").host("g")
    exit = e.exit(brokers=[broker])
    first = g.gateway(exit)
    page(lab, g, first)
    first.stop()
    exit.stop()

    def connect():
        again = e.exit(brokers=[broker], state=exit.state)
        gateway = g.gateway(None, state=first.state)
        page(lab, g, gateway)
        gateway.stop()
        again.stop()
    each_kind(lab, site.wire, connect)


@signal_test("signal: exit behind its home's NAT and its carrier's", families=(4,))
def reverse_carrier(lab):
    site = lab.site("exit", nat=[Nat(), Nat(HARD)], link=Link(delay=5))
    exit = site.host("e").exit(brokers=[lab.broker()])
    g = lab.site("gateway").host("g")
    page(lab, g, g.gateway(exit))


# ---- time to the first byte ----------------------------------------------------------------------

def percentile(values, part):
    values = sorted(values)
    return values[min(len(values) - 1, math.ceil(len(values) * part) - 1)]


def first_byte(lab, host, gateway):
    """Asks for a page, as an application does, and waits for its first byte."""
    reply, s = within(host.ns, lambda: socks5(gateway.socks, lab.origin.address(), 80))
    equal(reply, 0, "SOCKS reply")
    s.sendall(b"GET /hello HTTP/1.0\r\n\r\n")
    equal(read_exactly(s, 1), b"H", "the first byte")
    s.close()


def first_bytes(lab, exit_nat, gateway_nat):
    """New processes for each: from the gateway's start to the first byte of a page. Every round
    trip between two of exit, gateway and broker takes 50 ms."""
    far = Link(delay=12.5)
    broker = lab.broker(link=far)
    e = lab.site("exit", nat=exit_nat, link=far).host("e")
    g = lab.site("gateway", nat=gateway_nat, link=far).host("g")
    exit = e.exit(brokers=[broker])
    first = g.gateway(exit)
    page(lab, g, first)
    first.stop()
    exit.stop()
    whole, asked = [], []
    for _ in range(60 if lab.long else 10):
        broker.forget_log()
        exit = e.exit(brokers=[broker], state=exit.state)
        broker.await_log(r"Sending SUBACK")
        began = time.monotonic()
        gateway = g.gateway(None, state=first.state)
        ready = time.monotonic()
        first_byte(lab, g, gateway)
        whole.append(time.monotonic() - began)
        asked.append(time.monotonic() - ready)
        gateway.stop()
        exit.stop()
    lab.note(f"to the first byte, {len(whole)} times: median {statistics.median(whole):.2f} s, "
             f"95 % {percentile(whole, 0.95):.2f} s; after the gateway was ready "
             f"{statistics.median(asked):.2f} s, 95 % {percentile(asked, 0.95):.2f} s")
    check(statistics.median(whole) < 2, "the median is 2 s or more; the goal is 0.6 s")
    check(percentile(whole, 0.95) < 5, "the 95th percentile is 5 s or more; the goal is 1.5 s")


@signal_test("signal: first byte at 50 ms, cold broker, exit behind a NAT", families=(4, 6),
             timeout=240, plain=True, alone=True)
def first_byte_reverse(lab):
    first_bytes(lab, Nat(HARD), None)


@signal_test("signal: first byte at 50 ms, cold broker, gateway behind a NAT", families=(4, 6),
             timeout=240, plain=True, alone=True)
def first_byte_direct(lab):
    first_bytes(lab, None, Nat(HARD))


# ---- brokers in trouble --------------------------------------------------------------------------

@signal_test("signal: the broker is killed in mid transfer, and nothing happens", families=(4, 6),
             timeout=240)
def broker_killed(lab):
    broker = lab.broker()
    _, _, gateway = hidden_exit(lab, [broker])
    m = lab.measure(gateway, at=(0.2,), ways=("down", "up"))
    m.await_mark()
    broker.kill()
    m.finish(within=2)


@signal_test("signal: the broker is dead, the exit's NAT forgets: the transfer goes on later",
             timeout=240, families=(4,))
def broker_back(lab):
    broker = lab.broker()
    site, exit, gateway = hidden_exit(lab, [broker])
    m = lab.measure(gateway, to=exit.host)
    m.await_mark()
    broker.kill()
    m.outage(3, site.flush, broker.start)
    m.finish(within=10)


@signal_test("signal: of two brokers one is dead", families=(4, 6))
def one_dead(lab):
    dead = lab.broker("dead")
    dead.kill()
    _, _, gateway = hidden_exit(lab, [dead, lab.broker("alive")])
    seconds = lab.timed(lambda: page(lab, gateway.host, gateway))
    lab.note(f"a page after {seconds:.2f} s")
    check(seconds < 5 * lab.slow, f"a page took {seconds:.1f} s")


@signal_test("signal: of two brokers one hangs", families=(4, 6))
def one_hangs(lab):
    hung = lab.broker("hung")
    hung.hang()
    _, _, gateway = hidden_exit(lab, [hung, lab.broker("alive")])
    seconds = lab.timed(lambda: page(lab, gateway.host, gateway))
    hung.wake()
    lab.note(f"a page after {seconds:.2f} s")
    check(seconds < 5 * lab.slow, f"a page took {seconds:.1f} s")


@signal_test("signal: of two brokers one has a name that nobody resolves", families=(4,))
def one_nameless(lab):
    lab.dns.names["silent.lab"] = None  # the name server does not even answer
    alive = lab.broker("alive")
    _, _, gateway = hidden_exit(lab, [alive], exit_options=["signal.broker=mqtt://silent.lab:1883"])
    seconds = lab.timed(lambda: page(lab, gateway.host, gateway))
    lab.note(f"a page after {seconds:.2f} s")
    check(seconds < 5 * lab.slow, f"a page took {seconds:.1f} s")


@signal_test("signal: the broker comes up after both nodes", timeout=90, families=(4, 6))
def broker_late(lab):
    broker = lab.broker(start=False)
    _, _, gateway = hidden_exit(lab, [broker], gateway_options=["path.connect_wait=30s"])
    time.sleep(2)  # how long it is down
    broker.start()
    seconds = lab.timed(lambda: page(lab, gateway.host, gateway, 40))
    lab.note(f"a page {seconds:.2f} s after the broker was up")
    check(seconds < 15 * lab.slow, f"{seconds:.1f} s")


@signal_test("signal: TLS, WebSocket, both, with credentials", timeout=240)
def transports(lab):
    times = []
    for i, scheme in enumerate(("mqtt", "mqtts", "ws", "wss")):
        broker = lab.broker(f"broker-{scheme}", tls=True, user=("lab", "pass:w@rd"), scheme=scheme)
        e = lab.site(f"exit{i}", nat=Nat(HARD)).host(f"e{i}")
        exit = e.exit(brokers=[broker])
        g = lab.site(f"gateway{i}").host(f"g{i}")
        gateway = g.gateway(exit, *broker.trust())
        times.append(f"{scheme} {lab.timed(lambda: page(lab, g, gateway)):.2f} s")
    lab.note("a page after: " + ", ".join(times))


@signal_test("signal: the broker refuses the password: both ends say so", families=(4,))
def refused(lab):
    broker = lab.broker(user=("lab", "right"))
    broker.user = ("lab", "wrong")
    _, exit, gateway = hidden_exit(lab, [broker], gateway_options=["path.connect_wait=4s"])
    expect_no_page(lab, gateway)
    for node in (exit, gateway):
        check(re.search(r"refuse|password|credential|not authori", node.log.text(), re.I),
              f"{node.name}'s log: {node.log.text()}")
        check("wrong" not in node.log.text(), "the password is in the log")


# ---- what the user is told -----------------------------------------------------------------------

def expect_no_page(lab, gateway, seconds=20):
    began = time.monotonic()
    code, _, _ = lab.t.run("curl", "-s", "--max-time", str(seconds), "--socks5-hostname",
                           gateway.proxy, lab.web.url("/hello"), ns=gateway.host.ns, ok=False)
    check(code != 0, "a page came through")
    return time.monotonic() - began


@signal_test("signal: the exit is not running: the gateway says so", families=(4,))
def not_running(lab):
    broker = lab.broker()
    e = lab.site("exit", nat=Nat(HARD)).host("e")
    exit = e.exit(brokers=[broker])
    exit.stop()
    g = lab.site("gateway").host("g")
    gateway = g.gateway(exit.ticket)
    began = time.monotonic()
    gateway.expect_log("not running", 10 * lab.slow)
    told = time.monotonic() - began
    seconds = expect_no_page(lab, gateway)
    lab.note(f"its log says so after {told:.2f} s; a request fails after {seconds:.2f} s")
    check(told < 6 * lab.slow and seconds < 6 * lab.slow, "too late")
    page = lab.t.run("curl", "-s", "-x", f"http://{gateway.proxy}", lab.web.url("/hello"), ns=g.ns,
                     ok=False)[1].decode()
    check("not running" in page, f"the proxy's page for HTTP says: {page}")


@signal_test("signal: an expired ticket is refused over the broker, in plain words", families=(4,))
def expired(lab):
    site = lab.site("exit", nat=Nat(HARD))
    e = site.host("e")
    exit = e.exit(brokers=[lab.broker()])
    options = [x for o in lab.brokers[0].options() for x in ("-o", o)]
    ticket = lab.t.expired_ticket(exit, *options, ns=e.ns)
    g = lab.site("gateway").host("g")
    n = lab.t.node("gateway", "@" + ticket, ns=g.space(), options=["gateway.listen=127.0.0.1:0"])
    await_true(lambda: "expired" in n.log.text(), "expired, it says", 15 * lab.slow)
    if not n.running():
        n.ended_well = 0


# ---- moving --------------------------------------------------------------------------------------

@signal_test("signal: the exit's address changes in mid transfer", families=(4, 6), timeout=240)
def exit_renumbered(lab):
    e = lab.site("exit").host("e")
    exit = e.exit(brokers=[lab.broker()], allow=LOOPBACK)
    g = lab.site("home", nat=Nat(HARD), link=Link(delay=10, rate="250m")).host("g")
    gateway = g.gateway(exit)
    m = lab.measure(gateway, to=e)
    m.await_mark()
    e.renumber()
    m.finish()


@signal_test("signal: the NAT of the exit forgets, then has another address", families=(4,),
             timeout=240)
def exit_nat_moves(lab):
    site, exit, gateway = hidden_exit(lab, [lab.broker()])
    m = lab.measure(gateway, at=(0.3, 0.6), to=exit.host)
    m.await_mark()
    site.flush()
    m.await_mark()
    site.renumber()
    m.finish()


@signal_test("signal: the public gateway's address changes, the exit is behind a NAT",
             families=(4, 6), timeout=240)
def public_gateway_renumbered(lab):
    _, _, gateway = hidden_exit(lab, [lab.broker()])
    m = lab.measure(gateway)
    m.await_mark()
    gateway.host.renumber()
    m.finish()


@signal_test("signal: both addresses change at once", families=(4, 6), timeout=240)
def both_renumbered(lab):
    e = lab.site("exit").host("e")
    exit = e.exit(brokers=[lab.broker()], allow=LOOPBACK)
    g = lab.site("home", link=Link(delay=10, rate="250m")).host("g")
    gateway = g.gateway(exit)
    m = lab.measure(gateway, to=e)
    m.await_mark()
    e.renumber()
    g.renumber()
    m.finish()


# ---- several -------------------------------------------------------------------------------------

@signal_test("signal: two gateways and two exits at once; one is revoked", families=(4, 6),
             timeout=240)
def several(lab):
    brokers = [lab.broker("one"), lab.broker("two")]
    exits = [lab.site(f"exit{i}", nat=Nat(HARD)).host(f"e{i}").exit(brokers=brokers)
             for i in range(2)]
    hosts = [lab.site(f"gateway{i}").host(f"g{i}") for i in range(2)]
    gateways = {}
    for i, exit in enumerate(exits):
        gateways[i, i] = hosts[i].gateway(exit)
        text = ticket_of(lab, exit, brokers)
        other = 1 - i
        gateways[other, i] = hosts[other].gateway(text, name=f"gateway-g{other}-{i}")
    for (i, _), gateway in gateways.items():
        page(lab, hosts[i], gateway)
    measures = {key: lab.measure(g, at=()) for key, g in gateways.items() if key != (0, 0)}
    held = lab.t.held(lab.load_server, via=gateways[0, 0], ns=hosts[0].ns, pause=5)
    _, key, _ = lab.t.adit("key", "-c", "/dev/null", *gateways[0, 0].where(), ns=hosts[0].ns)
    gateway_id = re.search(r"\b[a-z2-7]{52}\b", key).group(0)
    began = time.monotonic()
    code, _, err = lab.t.adit("peers", "revoke", gateway_id, "-c", "/dev/null",
                              *exits[0].where(), ns=exits[0].ns)
    equal(code, 0, f"adit peers revoke: {err}")
    check(held.wait(10) != 0, "the echo ended well")
    seconds = time.monotonic() - began
    lab.note(f"the revoked one's stream ended after {seconds:.2f} s")
    check(seconds < 1 * lab.slow, f"{seconds:.1f} s")
    for m in measures.values():
        m.finish()


def ticket_of(lab, exit, brokers):
    """A further ticket's file."""
    options = [x for b in brokers for o in b.options() for x in ("-o", o)]
    return lab.t.ticket(exit, *options, ns=exit.ns)

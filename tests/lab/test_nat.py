# SPDX-License-Identifier: MIT
"""NATs between a gateway and an exit that can be dialled: every kind lets the gateway out."""

from harness import check, equal
from lab import Link, Nat, lab_test

PAGE = "hello, world\n"


def each_kind(lab, wire, connect):
    """Calls connect() behind every kind of NAT; the slowest and the median are printed."""
    times = []
    for kind in Nat.kinds():
        wire.set(Nat(kind).keys)
        wire.flush()
        try:
            times.append((lab.timed(connect), kind))
        except Exception as e:
            raise type(e)(f"behind {kind}: {e}") from e
    times.sort()
    worst, middle = times[-1], times[len(times) // 2]
    lab.note(f"{len(times)} kinds, from the gateway's start to a page: median {middle[0]:.2f} s, "
             f"at most {worst[0]:.2f} s ({worst[1]})")
    return times


@lab_test("nat: a gateway behind every kind of NAT reaches a public exit", timeout=180,
          families=(4,))
def gateway_side(lab):
    home = lab.site("home", nat=Nat(), link=Link(delay=5))
    g = home.host("g")
    exit = lab.site("exit").host("e").exit()
    first = g.gateway(exit)
    url = lab.web.url("/hello")
    equal(g.fetch(first, url), PAGE, "a page")
    first.stop()

    def connect():
        gateway = g.gateway(None, state=first.state)
        equal(g.fetch(gateway, url), PAGE, "a page")
        gateway.stop()
    each_kind(lab, home.wire, connect)


@lab_test("nat: a gateway behind a firewall for IPv6 reaches a public exit", families=(6,))
def gateway_firewall(lab):
    g = lab.site("home", nat=Nat(), link=Link(delay=5)).host("g")
    gateway = g.gateway(lab.site("exit").host("e").exit())
    equal(g.fetch(gateway, lab.web.url("/hello")), PAGE, "a page")


@lab_test("nat: a gateway behind its home's NAT and its carrier's", families=(4,))
def carrier(lab):
    home = lab.site("home", nat=[Nat(), Nat("apd/apd/random")], link=Link(delay=5))
    g = home.host("g")
    gateway = g.gateway(lab.site("exit").host("e").exit())
    equal(g.fetch(gateway, lab.web.url("/hello")), PAGE, "a page")
    lab.measure(gateway, at=()).finish()


@lab_test("nat: an exit behind a NAT with a forwarded port that its ticket tells", families=(4,))
def forwarded(lab):
    site = lab.site("exit", nat=Nat())
    e = site.host("e")
    site.wire.set({"forward": f"tcp:7000:{e.address()}:7000"})
    exit = e.exit(f"path.advertise={site.external()}:7000", listen="[::]:7000")
    g = lab.site("home", nat=Nat("apd/apd/random")).host("g")
    gateway = g.gateway(exit)
    equal(g.fetch(gateway, lab.web.url("/hello")), PAGE, "a page")


@lab_test("nat: the forwarded port is reached from the same LAN too, by hairpin", families=(4,))
def hairpin(lab):
    site = lab.site("exit", nat=Nat(hairpin="yes"))
    e, g = site.host("e"), site.host("g")
    site.wire.set({"forward": f"tcp:7000:{e.address()}:7000"})
    exit = e.exit(f"path.advertise={site.external()}:7000", listen="[::]:7000")
    gateway = g.gateway(exit)
    equal(g.fetch(gateway, lab.web.url("/hello")), PAGE, "a page")


@lab_test("nat: both homes have one private network, with another exit at the exit's address in it",
          families=(4,))
def same_network(lab):
    site = lab.site("exit", nat=Nat(), lan="192.168.1.0/24")
    home = lab.site("home", nat=Nat("apd/apd/random"), lan="192.168.1.0/24")
    e, other, g = site.host("e"), home.host("other"), home.host("g")
    equal(e.address(), other.address(), "the address of both exits")
    site.wire.set({"forward": f"tcp:7000:{e.address()}:7000"})
    exit = e.exit(f"path.advertise={site.external()}:7000", listen="[::]:7000")
    other.exit(listen="[::]:7000")
    seconds = lab.timed(lambda: equal(g.fetch(g.gateway(exit), lab.web.url("/hello")), PAGE,
                                      "a page"))
    lab.note(f"a page after {seconds:.2f} s")


@lab_test("nat: an exit behind a NAT, without signalling: the gateway says what is wrong",
          families=(4,))
def unreachable(lab):
    e = lab.site("exit", nat=Nat()).host("e")
    g = lab.site("home", nat=Nat()).host("g")
    gateway = g.gateway(e.exit(), "path.connect_wait=3s")
    p = lab.t.run("curl", "-s", "--socks5-hostname", gateway.proxy, lab.web.url("/hello"), ns=g.ns,
                  ok=False, seconds=30)
    check(p[0] != 0, "a page came from an exit that cannot be reached")
    text = gateway.log.text()
    check("remedy" in text or "reach" in text, f"the gateway's log says: {text}")

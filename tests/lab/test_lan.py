# SPDX-License-Identifier: MIT
"""Two nodes that can simply reach each other: no broker, no NAT between them."""

import time

from harness import equal
from lab import Nat, lab_test
from world import Web


@lab_test("lan: gateway and exit on one LAN, without any broker", families=(4, 6))
def one_lan(lab):
    home = lab.site("home", nat=Nat())
    g, e = home.host("g"), home.host("e")
    exit = e.exit()
    began = time.monotonic()
    gateway = g.gateway(exit)
    equal(g.fetch(gateway, lab.web.url("/hello")), "hello, world\n", "a page through the exit")
    lab.note(f"first page {time.monotonic() - began:.2f} s after the gateway was started")
    equal(lab.web.requests[-1][:2], ("GET", "/hello"), "what the web server saw")
    lab.measure(gateway, at=()).finish()


@lab_test("lan: public exit, public gateway", families=(4, 6))
def public(lab):
    g, e = lab.site("gateway").host("g"), lab.site("exit").host("e")
    exit = e.exit()
    gateway = g.gateway(exit)
    equal(g.fetch(gateway, lab.web.url("/hello")), "hello, world\n", "a page through the exit")
    lab.measure(gateway, at=()).finish()


@lab_test("lan: the exit's own network is closed to the gateway until it is allowed",
          families=(4,))
def closed(lab):
    home = lab.site("home", nat=Nat())
    g, printer = home.host("g"), home.host("printer")
    page = Web(lab.t, lab.web.root, ns=printer.ns, addresses=(printer.address(), "::1"), port=80)
    url = f"http://{printer.bracketed()}/hello"
    first = g.gateway(home.host("e").exit())
    equal(g.fetch(first, lab.web.url("/hello")), "hello, world\n", "the internet")
    code, _, err = lab.t.run("curl", "-sS", "--socks5-hostname", first.proxy, url, ns=g.ns,
                             ok=False)
    equal(code, 97, f"curl's exit code (97: the proxy refuses); it says {err}")
    equal(page.requests, [], "requests to the printer")
    second = g.gateway(home.host("e2").exit(allow=(f"{printer.address()}/32",)), name="second")
    equal(g.fetch(second, url), "hello, world\n", "the printer, which this exit allows")

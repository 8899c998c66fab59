# SPDX-License-Identifier: MIT
"""Two nodes that can simply reach each other: no broker, no NAT between them."""

import time

from harness import check, equal
from lab import Nat, lab_test


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


@lab_test("lan: the exit's own network is closed to the gateway, the internet is not")
def closed(lab):
    home = lab.site("home", nat=Nat())
    e = home.host("e")
    gateway = lab.site("gateway").host("g").gateway(e.exit())
    check(gateway.running(), "it runs")

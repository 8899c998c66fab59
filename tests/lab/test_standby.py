# SPDX-License-Identifier: MIT
"""A host with two uplinks and nat.interfaces: a path over each, of which the first that works
carries traffic. What is lost is at most what was on its way, and the silence is printed."""

import time

from harness import Failure, await_true, check, equal
from lab import LOOPBACK, Link, Nat, lab_test, paths

BOTH = "nat.interfaces=eth0,eth1"
READY = {"active": ["cable"], "standby": ["wifi"]}


def scene(lab, *options):
    """The cable is preferred, the Wi-Fi waits: (cable, wifi, host, exit, gateway)."""
    cable = lab.site("cable", nat=Nat("apd/apd/random"), link=Link(delay=10, rate="150m"))
    wifi = lab.site("wifi", nat=Nat(), link=Link(delay=15, rate="100m"))
    host = lab.host("g", cable, wifi)
    exit = lab.site("exit").host("e").exit()
    gateway = host.gateway(exit, BOTH, *options)
    return cable, wifi, host, exit, gateway


def by_state(host, gateway):
    """Which sites the paths go through: {state: [site, ...]}."""
    found = {}
    for _, path in paths(gateway):
        for site in host.sites:
            if path["local"].rsplit(":", 1)[0] in (host.bracketed(4, site), host.bracketed(6, site)):
                found.setdefault(path["state"], []).append(site.name)
    return found


def await_paths(lab, host, gateway, expected, seconds=20):
    found = {}

    def there():
        found.clear()
        found.update(by_state(host, gateway))
        return found == expected
    began = time.monotonic()
    try:
        await_true(there, "paths", seconds * lab.slow)
    except Failure:
        raise Failure(f"after {seconds} s the paths are {found}, expected {expected}") from None
    return time.monotonic() - began


def ready_scene(lab):
    """With a path over each."""
    cable, wifi, host, exit, gateway = scene(lab)
    await_paths(lab, host, gateway, READY)
    return cable, wifi, host, gateway


def pull(host, site, out=True):
    """The plug is out (or in): the carrier goes, addresses and routes stay, as for the first
    moments on a real machine."""
    site.router.ip(f"link set to-{host.name} {'down' if out else 'up'}")
    if not out:
        host.configure(site)


@lab_test("standby: the active interface is unplugged, then plugged in again", families=(4, 6),
          timeout=240)
def unplugged(lab):
    cable, wifi, host, gateway = ready_scene(lab)
    m = lab.measure(gateway, at=(0.2, 0.6))
    m.await_mark()
    pull(host, cable)
    await_paths(lab, host, gateway, {"active": ["wifi"]})
    m.await_mark()
    pull(host, cable, out=False)
    took = await_paths(lab, host, gateway, READY)
    lab.note(f"on the preferred interface again {took:.2f} s after it was back")
    m.finish(within=1.5)


@lab_test("standby: the active interface loses its address and link", families=(4, 6), timeout=240)
def gone(lab):
    cable, wifi, host, gateway = ready_scene(lab)
    lab.disturb(gateway, lambda: host.unplug(cable), within=1.5)


@lab_test("standby: behind the active interface everything is lost for 4 s, unnoticed by the host",
          families=(4, 6), timeout=240)
def silent(lab):
    cable, wifi, host, gateway = ready_scene(lab)
    m = lab.measure(gateway, at=(0.2,), size=(1 << 30) if lab.long else 96 << 20)
    m.await_mark()
    cable.cut()
    time.sleep(4)
    cable.restore()
    m.finish(within=1.5)
    took = await_paths(lab, host, gateway, READY, 60)
    lab.note(f"on the preferred interface again within {took:.1f} s")


@lab_test("standby: the interface that waits is lost, and is back", families=(4,), timeout=240)
def reserve_lost(lab):
    cable, wifi, host, gateway = ready_scene(lab)
    m = lab.measure(gateway)
    m.await_mark()
    pull(host, wifi)
    await_paths(lab, host, gateway, {"active": ["cable"]})
    pull(host, wifi, out=False)
    await_paths(lab, host, gateway, READY)
    m.finish(within=1.5)


@lab_test("standby: the active interface gets another address", families=(4, 6), timeout=240)
def renumbered(lab):
    cable, wifi, host, gateway = ready_scene(lab)
    lab.disturb(gateway, lambda: host.renumber(cable), within=1.5)
    await_paths(lab, host, gateway, READY)


@lab_test("standby: the provider gives another IPv6 prefix; the old one is deprecated, then gone",
          families=(6,), timeout=240)
def other_prefix(lab):
    cable = lab.site("cable", link=Link(delay=10, rate="150m"))
    host = cable.host("g")
    exit = lab.site("exit").host("e").exit()
    gateway = host.gateway(exit)
    m = lab.measure(gateway, at=(0.2, 0.6))
    m.await_mark()
    old, new = host.address(6), "2e00:ad17:1:1::10"
    lab.internet.ip("route add 2e00:ad17:1:1::/64 dev w1")
    cable.router.ip("address add 2e00:ad17:1:1::1/64 dev lan nodad")
    host.ns.ip(f"address add {new}/64 dev eth0 nodad",
               f"address change {old}/64 dev eth0 preferred_lft 0 valid_lft 3600")
    m.await_mark()
    host.ns.ip(f"address del {old}/64 dev eth0")
    m.finish(within=1.5)
    equal([path["local"].rsplit(":", 1)[0] for _, path in paths(gateway) if path["active"]],
          [f"[{new}]"], "where the path is")


@lab_test("standby: nat.standby = no keeps one path, over the first interface that works",
          families=(4, 6), timeout=240)
def without(lab):
    cable, wifi, host, _, gateway = scene(lab, "nat.standby=no")
    m = lab.measure(gateway, at=(0.2, 0.6))
    m.await_mark()
    equal(by_state(host, gateway), {"active": ["cable"]}, "the paths")
    pull(host, cable)
    await_paths(lab, host, gateway, {"active": ["wifi"]})
    m.await_mark()
    pull(host, cable, out=False)
    await_paths(lab, host, gateway, {"active": ["cable"]})
    m.finish(within=3)


@lab_test("standby: no interface is named: the path goes with the default route", families=(4, 6),
          timeout=240)
def route_moved(lab):
    wifi = lab.site("wifi", nat=Nat(), link=Link(delay=15, rate="100m"))
    cable = lab.site("cable", nat=Nat("apd/apd/random"), link=Link(delay=10, rate="150m"))
    host = lab.host("g", wifi, cable)
    gateway = host.gateway(lab.site("exit").host("e").exit())
    m = lab.measure(gateway)
    m.await_mark()
    host.prefer(cable)
    await_paths(lab, host, gateway, {"active": ["cable"]})
    m.finish(within=1.5)


@lab_test("standby: the gateway is stopped for 3 s", families=(4,), timeout=240)
def stopped(lab):
    cable, wifi, host, gateway = ready_scene(lab)
    lab.outage(gateway, 30 if lab.long else 3, gateway.suspend, gateway.resume)
    gateway.expect_log("event=woke")


@lab_test("roaming: the exit's address changes; it calls the gateway, which can be reached",
          families=(4, 6), timeout=240)
def exit_renumbered(lab):
    e = lab.site("exit").host("e")
    exit = e.exit(allow=LOOPBACK)
    gateway = lab.site("home", link=Link(delay=10, rate="150m")).host("g").gateway(exit)
    lab.disturb(gateway, e.renumber, to=e)


@lab_test("roaming: the exit loses one of its two addresses; the gateway knows the other",
          families=(4,), timeout=240)
def exit_loses_one(lab):
    one, two = lab.site("one"), lab.site("two")
    e = lab.host("e", one, two)
    # what arrives by the second site is answered by it
    e.ns.ip(f"rule add from {e.address(4, two)} table 7",
            f"route add default via {two.lan4[1]} dev eth1 table 7")
    exit = e.exit(allow=LOOPBACK)
    gateway = lab.site("home", nat=Nat(), link=Link(delay=10, rate="150m")).host("g").gateway(exit)
    lab.disturb(gateway, lambda: e.unplug(one), to=e)
    check(any(path["remote"].startswith(e.address(4, two)) for _, path in paths(gateway)),
          "the path goes to the other address")

# SPDX-License-Identifier: MIT
"""The network changes under a big transfer and an interactive echo: no byte is lost or repeated,
and how long both were silent is printed. The goal is to be back within 3 s of the network."""

from harness import check, equal
from lab import LOOPBACK, Link, Nat, lab_test

ACCESS = {"delay": 10, "rate": "250m"}


def scene(lab, nat=None, gateway_options=(), exit_options=()):
    """A gateway behind a home NAT, and a public exit: (site, host, gateway, exit)."""
    home = lab.site("home", nat=nat or Nat("apd/apd/random"), link=Link(**ACCESS))
    host = home.host("g")
    exit = lab.site("exit").host("e").exit(*exit_options)
    gateway = host.gateway(exit, *gateway_options)
    return home, host, gateway, exit


def plain_scene(lab):
    """The same without a NAT, where IPv6 is as IPv4."""
    home = lab.site("home", link=Link(**ACCESS))
    host = home.host("g")
    exit = lab.site("exit").host("e").exit()
    return home, host, host.gateway(exit), exit


@lab_test("roaming: the gateway's NAT forgets its mappings, twice", families=(4,), timeout=240)
def nat_flushed(lab):
    home, _, gateway, _ = scene(lab)
    lab.disturb(gateway, home.flush, home.flush)


@lab_test("roaming: it forgets them, and answers what it does not know by a reset", families=(4,),
          timeout=240)
def nat_flushed_rst(lab):
    home, _, gateway, _ = scene(lab, Nat("apd/apd/random", unsolicited="rst"))
    lab.disturb(gateway, home.flush)


@lab_test("roaming: the NAT's outside address changes, twice", families=(4,), timeout=240)
def nat_renumbered(lab):
    home, _, gateway, _ = scene(lab)
    lab.disturb(gateway, home.renumber, home.renumber)


@lab_test("roaming: home NAT and carrier's NAT, and the carrier's changes its address",
          families=(4,), timeout=240)
def carrier_renumbered(lab):
    home, _, gateway, _ = scene(lab, [Nat(), Nat("apd/apd/random")])
    lab.disturb(gateway, home.renumber)


@lab_test("roaming: the gateway's own address changes, twice", families=(4, 6), timeout=240)
def host_renumbered(lab):
    home, host, gateway, _ = scene(lab)
    lab.disturb(gateway, host.renumber, host.renumber)


@lab_test("roaming: the uplink loses everything for 5 s", families=(4, 6), timeout=240)
def uplink_cut(lab):
    home, _, gateway, _ = plain_scene(lab)
    lab.outage(gateway, 5, home.cut, home.restore, at=(0.2,), ways=("down", "up"))


@lab_test("roaming: the uplink loses everything for 60 s", timeout=600, long=True)
def uplink_cut_long(lab):
    home, _, gateway, _ = plain_scene(lab)
    lab.outage(gateway, 60, home.cut, home.restore)


@lab_test("roaming: the gateway's cable is out for 5 s", families=(4, 6), timeout=240)
def unplugged(lab):
    _, host, gateway, _ = scene(lab)
    lab.outage(gateway, 5, host.unplug, host.plug)


def two_uplinks(lab):
    """A host with Wi-Fi and cable, each with a router, a NAT and an address of its own."""
    wifi = lab.site("wifi", nat=Nat(), link=Link(delay=15, rate="100m"))
    cable = lab.site("cable", nat=Nat("apd/apd/random"), link=Link(**ACCESS))
    host = lab.host("g", wifi, cable)
    exit = lab.site("exit").host("e").exit()
    return wifi, cable, host, exit


@lab_test("roaming: from Wi-Fi to cable: the cable is plugged in, then the Wi-Fi is gone",
          families=(4, 6), timeout=240)
def switched(lab):
    wifi, cable, host, exit = two_uplinks(lab)
    host.unplug(cable)
    gateway = host.gateway(exit)

    def to_cable():
        host.plug(cable)
        host.prefer(cable)
    lab.disturb(gateway, to_cable, lambda: host.unplug(wifi), at=(0.3, 0.5))


@lab_test("roaming: the Wi-Fi is gone at once, the cable is there", families=(4, 6), timeout=240)
def fallen_back(lab):
    wifi, _, host, exit = two_uplinks(lab)
    gateway = host.gateway(exit)
    lab.disturb(gateway, lambda: host.unplug(wifi))


@lab_test("roaming: the Wi-Fi loses everything, the cable is there", families=(4, 6), timeout=240)
def wifi_silent(lab):
    wifi, cable, host, exit = two_uplinks(lab)
    gateway = host.gateway(exit)
    # the system notices after a second
    lab.outage(gateway, 1, wifi.cut, lambda: host.prefer(cable))


@lab_test("roaming: the default route moves to the other interface, both stay up", families=(4, 6),
          timeout=240)
def route_moved(lab):
    wifi, cable, host, exit = two_uplinks(lab)
    gateway = host.gateway(exit)
    lab.disturb(gateway, lambda: host.prefer(cable))


@lab_test("roaming: the gateway is stopped and continued", timeout=240)
def stopped(lab):
    _, _, gateway, _ = scene(lab)
    lab.outage(gateway, 30 if lab.long else 5, gateway.suspend, gateway.resume)


@lab_test("roaming: a laptop sleeps, and wakes up elsewhere", families=(4,), timeout=240)
def slept(lab):
    wifi, cable, host, exit = two_uplinks(lab)
    host.unplug(cable)
    gateway = host.gateway(exit)

    def sleep():
        gateway.suspend()
        host.unplug(wifi)

    def wake():
        host.plug(cable)
        gateway.resume()
    lab.outage(gateway, 30 if lab.long else 5, sleep, wake)


@lab_test("roaming: the exit's address changes; its ticket has a name for it", families=(4,),
          timeout=240)
def exit_renumbered_by_name(lab):
    names = lab.dns.names
    home = lab.site("home", nat=Nat(), link=Link(**ACCESS))
    e = lab.site("exit").host("e")
    names["exit.lab"] = [e.address()]
    exit = e.exit("path.advertise=exit.lab:7000", listen="[::]:7000", allow=LOOPBACK)
    gateway = home.host("g").gateway(exit)

    def move():
        e.renumber()
        names["exit.lab"] = [e.address()]
    lab.outage(gateway, 0, lambda: None, move, to=e)


@lab_test("roaming: an idle session works at once after the NAT has forgotten it", families=(4,))
def idle(lab):
    home, host, gateway, _ = scene(lab)
    url = lab.web.url("/hello")
    equal(host.fetch(gateway, url), "hello, world\n", "before")
    home.flush()
    seconds = lab.timed(lambda: host.fetch(gateway, url))
    lab.note(f"a page after {seconds:.2f} s")
    check(seconds < 3 * lab.slow, f"{seconds:.1f} s")

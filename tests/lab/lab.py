# SPDX-License-Identifier: MIT
"""The lab: an internet with origin servers and brokers, and sites with hosts on which adit runs.
See README for the picture, the addresses, and how to write a test."""

import contextlib
import functools
import ipaddress
import os
import threading
import time

import harness
from brokers import Broker
from harness import Skip, check
from nets import ANY4, ANY6, Link, Namespace, Nat, Wire, veth
from traffic import Traffic
from world import Dns, Web

__all__ = ["LOOPBACK", "Lab", "Link", "Nat", "lab_test"]

LOOPBACK = ("127.0.0.0/8", "::1/128")  # what an exit allows whose own host is the destination

# Addresses that adit takes for public ones, and nobody's: 44.128/16 was set aside for tests by the
# radio amateurs' network, 2e00::/16 is not given out. (Those for documentation are not public.)
NET4, NET6 = "44.128", "2e00:ad17"
PLACES_FROM = 200  # third number of an address: sites below, places from here


def lab_test(name, timeout=60, families=None, signalling=False, **kw):
    """Registers a test, which is given a Lab. families=(4, 6): once for each, in a lab that has
    no other; otherwise once, in a lab with both. signalling: skipped if adit has none."""
    def add(function):
        for family in families or (None,):
            def run(t, family=family):
                if signalling:
                    need_signalling(t)
                function(Lab(t, (family,) if family else (4, 6)))
            functools.update_wrapper(run, function)
            harness.test(f"{name} (IPv{family})" if family else name, timeout, **kw)(run)
        return function
    return add


def need_signalling(t):
    """Asks the program itself."""
    code, out, err = t.adit("check", "-c", "/dev/null", "-o", "signal.broker=mqtt://192.0.2.1:1883")
    check(code == 0, f"adit check: {err}")
    if "signal.broker is not used" in out + err:
        raise Skip("this adit has no signalling (adit check: signal.broker is not used)")


class Lab:
    """One test's networks."""

    def __init__(self, t, families=(4, 6)):
        self.t, self.families = t, families
        self.family = families[0]
        harness.need("ip")
        if os.geteuid() != 0:
            raise Skip("the lab needs root, or user namespaces (unshare -Ur), and has neither")
        self.internet = Namespace(t, "internet", forwards=True)
        if 6 in families and not os.path.exists("/proc/sys/net/ipv6"):
            raise Skip("this kernel has no IPv6")
        self.sites, self.places, self.brokers = [], [], []

    note = property(lambda self: self.t.note)
    slow = property(lambda self: self.t.slow)
    long = property(lambda self: self.t.long)

    def site(self, name, nat=None, link=None, **kw):
        """A LAN behind nothing, a NAT, or a list of them from inside to outside (home, carrier)."""
        return Site(self, name, nat, link, **kw)

    def host(self, name, *sites):
        """A host that is connected to several sites; the first one's default route counts."""
        return Host(self, name, sites)

    def place(self, name, link=None):
        """A namespace with an address in the internet."""
        return Place(self, name, link)

    def broker(self, name="broker", link=None, **kw):
        broker = Broker(self, self.place(name, link), **kw)
        self.brokers.append(broker)
        return broker

    @functools.cached_property
    def origin(self):
        """Where the web server and the far end of measure() are."""
        return Place(self, "origin", None)

    @functools.cached_property
    def web(self):
        return Origin(self)

    @functools.cached_property
    def load_server(self):
        return self.t.server(ns=self.origin.ns, listen=f"{self.origin.bracketed()}:0")

    @functools.cached_property
    def dns(self):
        """A name server; from now on the hosts use it. dns.names: name -> addresses."""
        place = Place(self, "dns", None)
        server = Dns(self.t, {}, ns=place.ns, address=(place.address(4), 53), ttl=1)
        self.resolv = self.t.write("resolv.conf", f"nameserver {place.address(4)}\n"
                                   "options timeout:1 attempts:2\n")
        return server

    resolv = None

    @staticmethod
    def timed(function):
        """How many seconds it takes."""
        began = time.monotonic()
        function()
        return time.monotonic() - began

    def measure(self, gateway, at=(0.4,), size=None, ways=("down",), to=None):
        """Traffic through a gateway, to a server in the internet, or (to: a host) on the host of an
        exit with allow=LOOPBACK: the exit's own connections break when its address changes."""
        server = self.load_server
        if to:
            server = self.t.server(ns=to.ns)
        return Measure(self, gateway, server, at, size, ways)

    def disturb(self, gateway, *events, within=3, **measured):
        """Traffic, and at each mark one of these happens; how it went is told and asserted."""
        measured.setdefault("at", (0.4,) if len(events) == 1 else (0.3, 0.6))
        m = self.measure(gateway, **measured)
        for event in events:
            m.await_mark()
            event()
        m.finish(within)

    def outage(self, gateway, seconds, off, on, **measured):
        """The same, of something that is away for so long."""
        m = self.measure(gateway, **measured)
        m.await_mark()
        m.outage(seconds, off, on)
        m.finish()


def lines_for(families, *lines):
    """Those lines of ip(8) that belong to these families; (4 or 6, text)."""
    return [text for family, text in lines if family in families]


class Place:
    """A namespace with addresses in the internet: `address()', with nothing in between but, if it
    is given, a link."""

    def __init__(self, lab, name, link):
        self.lab, self.name = lab, name
        n = PLACES_FROM + len(lab.places)
        lab.places.append(self)
        self.ip4, self.ip6 = f"{NET4}.{n}.2", f"{NET6}:{n:x}::2"
        self.ns = Namespace(lab.t, name)
        self.wire = None
        out = f"p{n}"
        families = lab.families if name != "dns" else (4, 6)
        if link:
            self.wire = Wire(lab.t, name, (self.ns, "eth0"), (lab.internet, out),
                             {"nat": "off", **link.keys})
            self.ns.ip(*lines_for(families,
                                  (4, f"address add {self.ip4}/32 dev eth0"),
                                  (6, f"address add {self.ip6}/128 dev eth0 nodad"),
                                  (4, f"route add {ANY4} dev eth0"),
                                  (6, f"route add {ANY6} dev eth0")))
            lab.internet.ip(*lines_for(families,
                                       (4, f"route add {NET4}.{n}.0/24 dev {out}"),
                                       (6, f"route add {NET6}:{n:x}::/64 dev {out}")))
            return
        veth(self.ns, "eth0", lab.internet, out)
        lab.internet.ip(*lines_for(families,
                                   (4, f"address add {NET4}.{n}.1/24 dev {out}"),
                                   (6, f"address add {NET6}:{n:x}::1/64 dev {out} nodad")))
        self.ns.ip(*lines_for(families,
                              (4, f"address add {self.ip4}/24 dev eth0"),
                              (6, f"address add {self.ip6}/64 dev eth0 nodad"),
                              (4, f"route add {ANY4} via {NET4}.{n}.1"),
                              (6, f"route add {ANY6} via {NET6}:{n:x}::1")))

    def address(self, family=None):
        return self.ip6 if (family or self.lab.family) == 6 else self.ip4

    def bracketed(self, family=None):
        """As in a URL."""
        return f"[{self.ip6}]" if (family or self.lab.family) == 6 else self.ip4


class Origin:
    """The web server of the internet: files in `root', on port 80 of both families."""

    def __init__(self, lab):
        self.place = lab.origin
        self.root = lab.t.path("www")
        os.mkdir(self.root)
        with open(f"{self.root}/hello", "w") as f:
            f.write("hello, world\n")
        addresses = [self.place.address(4 if 4 in lab.families else 6), self.place.address(6)]
        if 4 in lab.families:
            self.server = Web(lab.t, self.root, ns=self.place.ns, addresses=addresses, port=80)
        else:
            addresses[0] = "127.0.0.1"
            self.server = Web(lab.t, self.root, ns=self.place.ns, addresses=addresses, port=80)

    def url(self, path, family=None):
        return f"http://{self.place.bracketed(family)}{path}"

    @property
    def requests(self):
        return self.server.requests


class Site:
    """A LAN, the router in it, and what lies between that and the internet."""

    def __init__(self, lab, name, nat, link, lan=None):
        self.lab, self.name, self.t = lab, name, lab.t
        lab.sites.append(self)
        self.number = n = len(lab.sites)
        nats = [] if nat is None else nat if isinstance(nat, list) else [nat]
        keys = [dict(x.keys) for x in nats] or ([{"nat": "off"}] if link else [])
        if link:
            keys[0].update(link.keys)
        self.lan4 = ipaddress.ip_network(lan or (f"192.168.{n}.0/24" if nats else
                                                 f"{NET4}.{n}.0/24"))
        self.lan6 = ipaddress.ip_network(f"{NET6}:{n:x}::/64")
        self.hosts, self.wires, self.moves = 0, [], 0
        self.router = Namespace(self.t, f"{name}-router", forwards=True)
        try:
            self.router.ip("link add lan type bridge forward_delay 0", "link set lan up")
        except harness.Failure as e:
            raise Skip(f"no bridges here: {e}") from None
        self.router.ip(*lines_for(lab.families,
                                  (4, f"address add {self.lan4[1]}/{self.lan4.prefixlen} dev lan"),
                                  (6, f"address add {self.lan6[1]}/64 dev lan nodad")))
        self.outside = f"w{n}"
        if keys:
            self.connect(keys, bool(nats))
        else:
            self.connect_plainly()

    def connect(self, chain, natted):
        inner, lab, n = self.router, self.lab, self.number
        for i, keys in enumerate(chain):
            last = i == len(chain) - 1
            outer = lab.internet if last else Namespace(self.t, f"{self.name}-carrier", True)
            device = self.outside if last else "customer"
            outside4 = f"{NET4}.{n}.0/24" if last else f"100.64.{n}.0/24"
            if natted:
                keys = {"external": self.external(0, last), **keys}
            self.wires.append(Wire(self.t, self.name + (str(i) if i else ""), (inner, "wan"),
                                   (outer, device), keys))
            inner.ip(*lines_for(lab.families, (4, f"route add {ANY4} dev wan"),
                                (6, f"route add {ANY6} dev wan")))
            outer.ip(*lines_for(lab.families, (4, f"route add {outside4} dev {device}"),
                                (6, f"route add {self.lan6} dev {device}")))
            inner = outer

    def connect_plainly(self):
        """By a cable, whose ends need addresses for each other."""
        n = self.number
        veth(self.router, "wan", self.lab.internet, self.outside)
        self.router.ip(*lines_for(self.lab.families,
                                  (4, f"address add 169.254.{n}.2 peer 169.254.{n}.1 dev wan"),
                                  (6, "address add fe80::2/64 dev wan nodad"),
                                  (4, f"route add {ANY4} via 169.254.{n}.1"),
                                  (6, f"route add {ANY6} via fe80::1 dev wan")))
        self.route()

    def route(self):
        n = self.number
        self.lab.internet.ip(*lines_for(
            self.lab.families,
            (4, f"address replace 169.254.{n}.1 peer 169.254.{n}.2 dev {self.outside}"),
            (6, f"address replace fe80::1/64 dev {self.outside} nodad"),
            (4, f"route replace {self.lan4} via 169.254.{n}.2"),
            (6, f"route replace {self.lan6} via fe80::2 dev {self.outside}")))

    def host(self, name):
        return Host(self.lab, name, [self])

    def next_addresses(self):
        """Addresses in the LAN that nobody has had yet: {family: text}."""
        self.hosts += 1
        return {4: str(self.lan4[9 + self.hosts]), 6: str(self.lan6[15 + self.hosts])}

    def external(self, number=0, last=True):
        """The number-th outside address of the outermost (or the inner) NAT."""
        return f"{NET4 if last else '100.64'}.{self.number}.{2 + number}"

    # -- events --

    @property
    def wire(self):
        """The one next to the LAN."""
        if not self.wires:
            raise harness.Failure(f"site {self.name} has neither NAT nor link")
        return self.wires[0]

    def cut(self):
        """The uplink loses everything; no interface of a host notices."""
        if self.wires:
            self.wire.cut()
        else:
            self.lab.internet.ip(f"link set {self.outside} down")

    def restore(self):
        if self.wires:
            self.wire.restore()
        else:
            self.lab.internet.ip(f"link set {self.outside} up")
            self.route()

    def flush(self):
        """The NATs forget their mappings."""
        for wire in self.wires:
            wire.flush()

    def renumber(self):
        """Another address outside, and of course no mappings."""
        self.moves += 1
        self.wires[-1].renumber(self.external(self.moves))


class Host:
    """A machine on which adit runs, with an interface eth0, eth1, ... for each site."""

    def __init__(self, lab, name, sites):
        self.lab, self.t, self.name = lab, lab.t, name
        self.ns = Namespace(lab.t, f"{name}-host")
        self.sites, self.addresses = list(sites), {}
        for site in sites:
            veth(self.ns, self.device(site), site.router, f"to-{name}"[:15])
            site.router.ip(f"link set {f'to-{name}'[:15]} master lan")
            self.addresses[site] = site.next_addresses()
            self.configure(site)

    def device(self, site):
        return f"eth{self.sites.index(site)}"

    def configure(self, site):
        device, at = self.device(site), self.addresses[site]
        self.ns.ip(*lines_for(self.lab.families,
                              (4, f"address replace {at[4]}/{site.lan4.prefixlen} dev {device}"),
                              (6, f"address replace {at[6]}/64 dev {device} nodad")))
        self.route(site, 100 * (1 + self.sites.index(site)))

    def route(self, site, metric, verb="replace"):
        device = self.device(site)
        self.ns.ip(*lines_for(
            self.lab.families,
            (4, f"route {verb} {ANY4} via {site.lan4[1]} dev {device} metric {metric}"),
            (6, f"route {verb} {ANY6} via {site.lan6[1]} dev {device} metric {metric}")))

    def address(self, family=None, site=None):
        return self.addresses[site or self.sites[0]][family or self.lab.family]

    def bracketed(self, family=None, site=None):
        text = self.address(family, site)
        return f"[{text}]" if ":" in text else text

    # -- events --

    def renumber(self, site=None):
        """Other addresses in the same LAN; the old ones are gone."""
        site = site or self.sites[0]
        self.ns.ip(f"address flush dev {self.device(site)}")
        self.addresses[site] = site.next_addresses()
        self.configure(site)

    def unplug(self, site=None):
        """The interface is down, with its addresses and routes."""
        site = site or self.sites[0]
        self.ns.ip(f"address flush dev {self.device(site)}", f"link set {self.device(site)} down")

    def plug(self, site=None):
        site = site or self.sites[0]
        self.ns.ip(f"link set {self.device(site)} up")
        self.configure(site)

    def prefer(self, site):
        """The default route goes there; the other interfaces stay as they are."""
        self.route(site, 50)
        for other in self.sites:
            if other is not site:
                with contextlib.suppress(harness.Failure):
                    self.route(other, 50, "delete")

    # -- what runs here --

    def space(self):
        self.ns.resolv = self.lab.resolv
        return self.ns

    def exit(self, *options, brokers=(), listen="[::]:0", allow=(), name=None, **kw):
        """An exit that is ready. It allows what is public, as by default."""
        e = self.t.exit(*(o for b in brokers for o in b.options()), *options, ns=self.space(),
                        listen=listen, allow=allow, name=name or f"exit-{self.name}", **kw)
        e.host = self
        return e

    def gateway(self, peer, *options, brokers=(), name=None, reach="[::]:0", **kw):
        """A gateway of an exit (or with a ticket's file, or None) that is ready."""
        ticket = getattr(peer, "ticket", peer)
        g = self.t.gateway(ticket, *(o for b in brokers for o in b.options()), *options,
                           ns=self.space(), name=name or f"gateway-{self.name}", reach=reach, **kw)
        g.host = self
        return g

    def fetch(self, gateway, url, seconds=20):
        """What curl gets from there through the gateway."""
        curl = harness.need("curl")
        _, out, _ = self.t.run(curl, "--silent", "--show-error", "--fail", "--max-time",
                               str(seconds), "--socks5-hostname", gateway.proxy, url,
                               ns=self.ns, seconds=seconds + 10)
        return out.decode()


class Pauses(threading.Thread):
    """How long this machine itself stood still, too busy with something else to run a thread that
    sleeps for 20 ms at a time: that is nobody's silence."""

    STEP, LEAST = 0.02, 0.2

    def __init__(self):
        super().__init__(daemon=True)
        self.total, self.over = 0, threading.Event()
        self.start()

    def run(self):
        last = time.monotonic()
        while not self.over.wait(self.STEP):
            now = time.monotonic()
            if now - last > self.LEAST:
                self.total += now - last - self.STEP
            last = now


class Measure(Traffic):
    """Traffic through a gateway while things happen. finish() tells the longest silences, and how
    long after the network was there again."""

    def __init__(self, lab, gateway, server, at, size, ways):
        t = lab.t
        size = size or (1 << 30 if t.long else 64 << 20)
        super().__init__(t, server, gateway, gateway.ns, size, at, ways)
        self.lab, self.outages, self.pauses = lab, [], Pauses()

    def outage(self, seconds, off, on):
        """The network is away for so long, which finish() takes into account."""
        began = time.monotonic()
        super().outage(seconds, off, on)
        self.outages.append(time.monotonic() - began)

    def finish(self, within=3, seconds=None):
        """Asserts that traffic was back `within' seconds of the network being there again."""
        results = self.collect(seconds or (400 if self.t.long else 90))
        self.pauses.over.set()
        away = max(self.outages, default=0)
        text = ", ".join(f"{k} {v / 1e3:.2f} s" for k, v in results.items())
        worst = max(results.values()) / 1e3
        if away:
            text += f" ({max(worst - away, 0):.2f} s after {away:.2f} s without a network)"
        if self.pauses.total:
            text += f", of which the machine stood still for up to {self.pauses.total:.2f} s"
        self.t.note("stall: " + text)
        check(worst - away - self.pauses.total < within * (2 if self.t.sanitized else 1),
              f"silent for {worst:.2f} s, of which {away:.2f} s without a network; {within} s more "
              "are allowed")
        return results


def paths(node):
    """The paths in a node's status: [(peer, path), ...]."""
    return [(peer, path) for peer in node.status()["peers"] for path in peer.get("paths", ())]

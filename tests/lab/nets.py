# SPDX-License-Identifier: MIT
"""What the lab's networks are made of: namespaces, and the emulator between two of them."""

import json
import os
import socket
import subprocess

from harness import Failure, Proc, Skip, check
from world import within

ANY4, ANY6 = "0.0.0.0/0", "::/0"


class Namespace:
    """A network namespace that ends with the test. Wherever the harness takes the name of one it
    takes one of these."""

    def __init__(self, t, name, forwards=False):
        self.t, self.name, self.resolv = t, f"{t.namespaces}{name}", None
        r = subprocess.run(["ip", "netns", "add", self.name], capture_output=True, text=True)
        if r.returncode != 0:
            raise Skip(f"no network namespaces here: {r.stderr.strip()}")
        t.undo.append(lambda: subprocess.run(["ip", "netns", "del", self.name],
                                             stderr=subprocess.DEVNULL))
        settings = {"ipv4/ip_forward": int(forwards), "ipv6/conf/all/forwarding": int(forwards),
                    # an address counts at once
                    "ipv6/conf/default/accept_dad": 0, "ipv6/conf/default/dad_transmits": 0,
                    "ipv6/conf/default/accept_ra": 0,
                    "ipv4/conf/all/rp_filter": 0, "ipv4/conf/default/rp_filter": 0}
        within(self, lambda: self.write(settings))
        self.ip("link set lo up")

    def __str__(self):
        return self.name

    @staticmethod
    def write(settings):
        for name, value in settings.items():
            try:
                with open(f"/proc/sys/net/{name}", "w") as f:
                    f.write(str(value))
            except FileNotFoundError:
                if "ipv4" in name:
                    raise

    def enter(self):
        """How a command line begins that runs here."""
        argv = ["ip", "netns", "exec", self.name]
        if self.resolv:  # ip gave the process mounts of its own
            argv += ["sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', self.resolv]
        return argv

    def ip(self, *lines):
        """Lines of ip(8), in one go."""
        self.t.run("ip", "-n", self.name, "-batch", "-", stdin="\n".join((*lines, "")).encode())

    def run(self, *argv, **kw):
        return self.t.run(*argv, ns=self, **kw)


def veth(a, a_name, b, b_name):
    """A cable between two namespaces."""
    a.ip(f"link add {a_name} type veth peer name {b_name} netns {b}", f"link set {a_name} up")
    b.ip(f"link set {b_name} up")


class Wire:
    """The emulator between two namespaces: see "wire" in README for what its keys mean. It makes
    one TUN device in each, which this configures no further than up."""

    def __init__(self, t, name, inside, outside, keys):
        """inside, outside: (namespace, name of the device)."""
        self.t = t
        program = os.path.abspath(t.args.wire or
                                  os.path.join(os.path.dirname(t.args.adit), "tests/lab/wire"))
        if not os.access(program, os.X_OK):
            raise Skip(f"{program} is not built: make it, or give --wire PATH")
        self.socket = t.path(f"{name}.wire")
        ends = [f"{device}@{ns}" for ns, device in (inside, outside)]
        self.p = Proc(t, f"wire-{name}",
                      [program, "--control", self.socket, "--in", ends[0], "--out", ends[1],
                       "--exit-with-stdin", *(f"{k}={v}" for k, v in keys.items())],
                      stdin=subprocess.PIPE)
        self.p.expect("^ready")
        for ns, device in (inside, outside):
            ns.ip(f"link set {device} up")
        self.control = socket.socket(socket.AF_UNIX)
        self.control.settimeout(10)
        self.control.connect(self.socket)
        self.answers = self.control.makefile("r")

    def ask(self, message):
        """One line of JSON there, one back."""
        self.control.sendall(json.dumps(message).encode() + b"\n")
        line = self.answers.readline()
        check(line, f"{self.p.name} ended: {self.p.log.text()}")
        answer = json.loads(line)
        if isinstance(answer, dict) and "error" in answer:
            raise Failure(f"{self.p.name}: {message}: {answer['error']}")
        return answer

    def set(self, keys):
        """Keys of the emulator; what flows goes on."""
        return self.ask({"set": {k: str(v) for k, v in keys.items()}})

    def cut(self, direction="both"):
        """From now on packets vanish here, without a word: "up", "down" or both."""
        self.ask({"do": "cut", "direction": direction})

    def restore(self, direction="both"):
        self.ask({"do": "restore", "direction": direction})

    def flush(self):
        """The NAT forgets its mappings, as at a restart."""
        self.ask({"do": "flush"})

    def renumber(self, external):
        """The NAT forgets its mappings and has another address outside."""
        self.ask({"do": "renumber", "external": external})

    def stats(self):
        return self.ask({"get": "stats"})

    def mappings(self):
        return self.ask({"get": "mappings"})


class Nat:
    """What a NAT does. tcp, udp: "MAPPING/FILTERING/PORTS" after RFC 4787 (udp is as tcp if it is
    not given); other keys of the emulator by name, with `_' for `.'. The default is the usual home
    router. For IPv6 it is a firewall with the same filtering, and translates nothing."""

    def __init__(self, tcp="ei/apd/preserve", udp=None, **more):
        udp = udp or tcp
        self.keys = {"nat": "on", "nat6": "firewall"}
        for kind, text in (("tcp", tcp), ("udp", udp)):
            for part, value in zip(("mapping", "filtering", "ports"), text.split("/"), strict=True):
                self.keys[f"{kind}.{part}"] = value
        self.keys.update({k.replace("_", "."): v for k, v in more.items()})

    @staticmethod
    def kinds(ports=("preserve", "sequential", "random", "step:2")):
        """Every mapping with every filtering and every way to choose ports."""
        kinds = ("ei", "ad", "apd")
        return [f"{m}/{f}/{p}" for m in kinds for f in kinds for p in ports]


class Link:
    """What an access line does: delay and jitter in ms each way, loss in per cent, rate in bit/s
    ("20m"), queue, and so on, as the emulator has them; up_loss is its up.loss."""

    def __init__(self, **keys):
        self.keys = {k.replace("_", "."): v for k, v in keys.items()}

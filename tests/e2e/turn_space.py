# SPDX-License-Identifier: MIT
"""A network namespace with a TURN server, and `adit turn' in it: what the tests of the toolbox and of
other implementations share."""

import json
import os
import signal
import subprocess
import sys

from harness import Failure, Skip, await_true, check, equal, need

SERVER, SERVER6, PEER = "10.9.0.1", "fd09::1", "10.9.0.3"
CAPTURE = r"""
import socket, struct, sys, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.setsockopt(socket.SOL_SOCKET, 33, 32 << 20)
s.bind(("lo", 0))
f = open(sys.argv[1], "wb", 0)
f.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
print("ready", flush=True)
while True:
    data, sender = s.recvfrom(262144)
    if sender[2] != 4:
        now = time.time()
        f.write(struct.pack("<IIII", int(now), int(now % 1 * 1e6), len(data), len(data)) + data)
"""


class Entered:
    """What begins a command line that runs in a namespace without a name."""

    def __init__(self, argv):
        self.argv = argv

    def enter(self):
        return self.argv


class Space:
    """A namespace whose loopback has the addresses of a server and its peers."""

    def __init__(self, t):
        self.t = t
        self.ns = self.named() if os.geteuid() == 0 else self.nameless()
        for words in ("link set lo up", f"address add {SERVER}/24 dev lo",
                      f"address add {PEER}/24 dev lo", f"address add {SERVER6}/64 dev lo nodad"):
            self.run(need("ip"), *words.split())

    def named(self):
        name = f"{self.t.namespaces}t"
        r = subprocess.run([need("ip"), "netns", "add", name], capture_output=True, text=True)
        if r.returncode != 0:
            raise Skip(f"no network namespaces here: {r.stderr.strip()}")
        self.t.undo.append(lambda: subprocess.run(["ip", "netns", "del", name]))
        return name

    def nameless(self):
        """Without root, in a user namespace: it lives as long as a process in it."""
        holder = self.t.spawn("space", need("unshare"), "--user", "--map-root-user", "--net", "sh",
                              "-c", "echo ready; exec sleep infinity")
        try:
            holder.expect("^ready$")
        except Failure:
            raise Skip("network namespaces need root, or user namespaces") from None
        return Entered([need("nsenter"), "--preserve-credentials", "-U", "-n", "-t",
                        str(holder.pid)])

    def run(self, *argv, **kw):
        return self.t.run(*argv, ns=self.ns, **kw)

    def adit(self, *argv, **kw):
        return self.t.adit("turn", *argv, ns=self.ns, **kw)

    def spawn(self, name, *argv, **kw):
        return self.t.spawn(name, *argv, ns=self.ns, **kw)

    def coturn(self, *more):
        """A server with the user alice, password secret; or with time-limited credentials."""
        more = [*more] if "--use-auth-secret" in more else ["--lt-cred-mech", "--user=alice:secret",
                                                            *more]
        p = self.spawn("coturn", need("turnserver"), "-c", "/dev/null", "-n", "-v", "--no-cli",
                       f"--listening-ip={SERVER}", f"--listening-ip={SERVER6}",
                       f"--relay-ip={SERVER}", f"--relay-ip={SERVER6}", "--realm=test",
                       "--log-file=stdout",
                       "--simple-log", f"--pidfile={self.t.path('coturn.pid')}",
                       f"--userdb={self.t.path('coturn.db')}", "--allow-loopback-peers", *more)
        p.expect(r"Total General servers|listener opened on", 20)
        await_true(lambda: b":3478" in self.run("ss", "-Hlnut", ok=False)[1], "coturn's port")
        return p

    def capture(self, file):
        p = self.spawn("capture", sys.executable, "-c", CAPTURE, file)
        p.expect("^ready$")
        return p


def login(t):
    return ["-c", "/dev/null", "--user", "alice", "--password-file", t.secret("pw", "secret\n")]


class Listener:
    def __init__(self, space, *argv, server=f"turn:{SERVER}"):
        self.t, self.inbox = space.t, space.t.path(space.t.unique("inbox"))
        os.mkdir(self.inbox)
        self.p = space.spawn("listen", space.t.program, "turn", "listen", *login(space.t),
                             "--server", server, "--output", self.inbox, *argv)
        self.address = self.p.expect(r"^address: (\S+)$", 20 * space.t.slow).group(1)

    def has(self, name, data):
        with open(os.path.join(self.inbox, name), "rb") as f:
            check(f.read() == data, f"{name} has other content")

    def stop(self, code=0):
        equal(self.p.stop(), code, "the listener's exit code")


def send(space, to, *argv, server=f"turn:{SERVER}", code=0, **kw):
    got, out, err = space.adit("send", *login(space.t), "--server", server, "--to", to, *argv,
                               seconds=90, **kw)
    equal(got, code, f"turn send: {err}")
    return out, err


def certificate(t):
    cert, key = t.path("cert.pem"), t.path("key.pem")
    t.run(need("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out",
          cert, "-days", "2", "-subj", "/CN=test", "-addext", f"subjectAltName=IP:{SERVER}")
    return cert, key


def probe(space, *argv, code=0, who=("--user", "alice"), password="secret", time_="200ms"):
    more = ["--password-file", space.t.secret("probe-pw", password)] if password else []
    got, out, err = space.adit("probe", "-c", "/dev/null", "--json", "--time", time_, *who, *more,
                               *argv, seconds=90)
    equal(got, code, f"turn probe: {err}{out[-2000:]}")
    result = json.loads(out)
    equal(result["works"], code == 0, "works")
    return result


def yes(leg, *names):
    for name in names:
        check(leg[name]["yes"], f"{leg['server']}: {name}: {leg[name]}")


def advised(result, *words):
    for w in words:
        check(any(w in a for a in result["advice"]), f"no advice has {w!r}: {result['advice']}")

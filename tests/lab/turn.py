# SPDX-License-Identifier: MIT
"""Real TURN servers: coturn, each a process with an address of its own; and `adit turn' on hosts,
as users call it."""

import hashlib
import os
import subprocess
import sys
import threading
import time

from harness import Failure, await_true, check, equal, need

USER, PASSWORD = "alice", "a password: of the lab"
AUTHORITY = """
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
    -subj "/CN=lab authority" -addext basicConstraints=critical,CA:true -keyout ca.key -out ca.crt
"""
CERTIFICATE = """
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN={name}.lab" \
    -keyout {name}.key -out {name}.csr
echo "subjectAltName=IP:{ip4},IP:{ip6},DNS:{name}.lab" >{name}.ext
openssl x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 \
    -extfile {name}.ext -out {name}.crt
"""
CAPTURE = """
import socket, struct, sys, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.setsockopt(socket.SOL_SOCKET, 33, 32 << 20)
s.bind((sys.argv[2], 0))
f = open(sys.argv[1], "wb", 0)
f.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
print("ready", flush=True)
while True:
    data, now = s.recv(262144), time.time()
    f.write(struct.pack("<IIII", int(now), int(now % 1 * 1e6), len(data), len(data)) + data)
"""


class Coturn:
    """A coturn with the user USER, in the ports of the standards: UDP and TCP on 3478, with tls
    TLS on 5349 by a certificate of the lab's own authority `ca'. options: long ones, without "--";
    user: (name, password), or None for options of one's own."""

    def __init__(self, lab, name="turn", *options, tls=False, user=(USER, PASSWORD), link=None,
                 families=None):
        self.lab, self.t = lab, lab.t
        self.program, self.place = need("turnserver"), lab.place(name, link)
        self.families = families or lab.families
        lines = ["realm=lab", "lt-cred-mech", "fingerprint", "no-cli", "verbose", "simple-log",
                 "log-file=stdout", "no-dtls", "relay-threads=1",
                 f"pidfile={lab.t.path(name + '.pid')}", f"userdb={lab.t.path(name + '.db')}"]
        if user:
            lines.append(f"user={user[0]}:{user[1]}")
        for family in self.families:
            lines += [f"listening-ip={self.place.address(family)}",
                      f"relay-ip={self.place.address(family)}"]
        self.ca = None
        if tls:
            self.ca = lab.t.path("ca.crt")
            if not os.path.exists(self.ca):
                lab.t.run("sh", "-ec", AUTHORITY)
            lab.t.run("sh", "-ec", CERTIFICATE.format(ip4=self.place.ip4, ip6=self.place.ip6,
                                                      name=name))
            lines += [f"cert={lab.t.path(name + '.crt')}", f"pkey={lab.t.path(name + '.key')}"]
        else:
            lines.append("no-tls")
        self.conf = lab.t.write(f"{name}.conf", "\n".join((*lines, *options, "")))
        self.start()

    def start(self):
        self.p = self.t.spawn(self.place.name, self.program, "-c", self.conf, ns=self.place.ns)
        for family in self.families:
            at = f"{self.place.bracketed(family)}:3478".encode()
            await_true(lambda at=at: self.listens(at), "coturn's ports", 20)

    def listens(self, at):
        check(self.p.running(), "coturn has ended")
        return all(at in self.place.ns.run("ss", "-Hln", kind)[1] for kind in ("-u", "-t"))

    def kill(self):
        self.p.kill()

    def restart(self):
        self.kill()
        self.start()

    def uri(self, leg="udp", family=None):
        """leg: "udp", "tcp", "tls"; "host": not said."""
        at = self.place.bracketed(family)
        return {"host": at, "udp": f"turn:{at}", "tcp": f"turn:{at}?transport=tcp",
                "tls": f"turns:{at}"}[leg]

    def logged(self, text):
        """How many lines of its log have this in them."""
        return sum(text in line for line in self.p.out.lines)


class Client:
    """`adit turn' on a host, with the login of USER unless `login' says otherwise."""

    def __init__(self, host, *servers, ca=None, login=None):
        self.host, self.t = host, host.t
        t = self.t
        self.argv = ["-c", "/dev/null"]
        if login is None:
            login = ["--user", USER, "--password-file", t.secret("password", PASSWORD + "\n")]
        self.argv += login
        for server in servers:
            self.argv += ["--server", server]
        if ca:
            self.argv += ["--ca-file", ca]

    def spawn(self, verb, *argv, name=None, **kw):
        return self.t.spawn(name or f"{verb}-{self.host.name}", self.t.program, "turn", verb,
                            *self.argv, *argv, ns=self.host.space(), **kw)

    def run(self, verb, *argv, seconds=90, **kw):
        """(exit code, stdout, stderr)"""
        return self.t.adit("turn", verb, *self.argv, *argv, ns=self.host.space(), seconds=seconds,
                           **kw)

    def listen(self, *argv):
        return Listener(self, *argv)

    def send(self, to, *what, code=0, **kw):
        got, out, err = self.run("send", "--to", to, *what, **kw)
        equal(got, code, f"exit code of turn send: {err.strip()} {out.strip()}")
        return out, err

    def sender(self, to, *what, **kw):
        return self.spawn("send", "--to", to, *what, **kw)

    def lines(self, to, *argv):
        return Lines(self, to, *argv)


class Listener:
    """A running `adit turn listen'; its address is known."""

    def __init__(self, client, *argv):
        t = client.t
        self.t, self.inbox = t, t.path(t.unique("inbox"))
        os.mkdir(self.inbox)
        self.p = client.spawn("listen", "--output", self.inbox, *argv)
        self.address = self.p.expect(r"^address: (\S+)$", 20 * t.slow).group(1)

    def has(self, name, digest, seconds=60):
        """Waits until a file is there, and compares."""
        told = self.p.expect(rf"file {name}, (\d+) bytes, .* sha256 ([0-9a-f]+)$", seconds)
        with open(f"{self.inbox}/{name}", "rb") as f:
            got = hashlib.file_digest(f, "sha256").hexdigest()
        equal((got, told.group(2)), (digest, digest), f"SHA-256 of {name}")

    def part(self):
        """Bytes of a file that is under way."""
        sizes = [os.path.getsize(f"{self.inbox}/{name}") for name in os.listdir(self.inbox)
                 if name.endswith(".part")]
        return max(sizes, default=0)

    def await_part(self, size, seconds=60):
        await_true(lambda: self.part() >= size, f"{size} bytes of the file", seconds)

    def stop(self):
        equal(self.p.stop(), 0, "exit code of turn listen")


class Lines:
    """A running `adit turn send' that sends the lines it is given."""

    def __init__(self, client, to, *argv):
        self.t = client.t
        self.p = client.spawn("send", "--to", to, *argv, stdin=subprocess.PIPE)

    def put(self, text):
        try:
            self.p.p.stdin.write(text.encode() + b"\n")
            self.p.p.stdin.flush()
        except BrokenPipeError:
            raise Failure(f"turn send has ended: {self.p.log.text()}") from None

    def end(self, seconds=30):
        self.p.p.stdin.close()
        equal(self.p.wait(seconds), 0, f"exit code of turn send: {self.p.log.text()}")


class Chat:
    """Numbered messages through one Lines to one Listener, one each `step' seconds, from a thread
    (0: one for each delay()); all must come, once and in order."""

    def __init__(self, lines, listener, name, step=1.0):
        self.lines, self.listener, self.name, self.step = lines, listener, name, step
        self.sent, self.fault, self.over = 0, None, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        if step:
            self.thread.start()

    def run(self):
        try:
            while not self.over.wait(self.step):
                self.sent += 1
                self.lines.put(f"{self.name} {self.sent} {time.monotonic():.6f}")
        except (Failure, OSError) as e:
            self.fault = e

    def delay(self):
        """Seconds that the last message took; the next one is sent when it is there."""
        self.sent += 1
        began = time.monotonic()
        self.lines.put(f"{self.name} {self.sent} {began:.6f}")
        self.listener.p.expect(f" {self.name} {self.sent} ", 30)
        return time.monotonic() - began

    def numbers(self):
        words = [line.split() for line in self.listener.p.out.lines]
        return [int(w[2]) for w in words if len(w) == 4 and w[1] == self.name]

    def finish(self, seconds=30):
        """Asserts it; how many there were."""
        self.over.set()
        if self.step:
            self.thread.join()
        if self.fault:
            raise self.fault
        await_true(lambda: self.sent in self.numbers()[-1:], f"{self.name}: the last message "
                   f"({self.sent}; there are {self.numbers()[-3:]})", seconds)
        got = self.numbers()
        lost = sorted(set(range(1, self.sent + 1)) - set(got))
        check(not lost, f"{self.name}: {len(lost)} of {self.sent} lost: {lost[:20]}")
        equal(got, list(range(1, self.sent + 1)), f"{self.name}: order")
        return self.sent


def random_file(t, size, name="data"):
    """(path, SHA-256) of a new file."""
    digest = hashlib.sha256()
    with open(t.path(name), "wb") as f:
        while size > 0:
            block = os.urandom(min(size, 1 << 20))
            digest.update(block)
            f.write(block)
            size -= len(block)
    return t.path(name), digest.hexdigest()


def capturing(host, file):
    """A running capture of what passes a host's first interface, to a pcap file."""
    p = host.t.spawn("capture", sys.executable, "-c", CAPTURE, file, host.device(host.sites[0]),
                     ns=host.ns)
    p.expect("^ready$")
    return p

# SPDX-License-Identifier: MIT
"""What the end-to-end tests stand on: processes whose output is awaited, adit nodes, clients. The
servers, relays and networks around them are in world.py. See README for how to write a test.

Every test runs in a process of its own (run does that), so it may leave threads, listeners and
children behind: T.finish() and the kernel (PR_SET_PDEATHSIG) end them.
"""

import collections
import contextlib
import ctypes
import hashlib
import ipaddress
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

TESTS = []
CRASH = re.compile(r"Sanitizer|runtime error:|Assertion .* failed|\*\*\* .*(smashing|overflow)"
                   r"|double free|corrupted|event_base|\[err\]|\[warn\]")


class Skip(Exception):
    """Raised by a test that cannot run here; the text is the reason."""


class Failure(AssertionError):
    pass


def test(name, timeout=60, alone=False, plain=False, long=False):
    """Registers a test. alone: not beside others, it measures. plain: with the program as users
    get it, not the one built with sanitizers. long: only with --long."""
    def add(function):
        TESTS.append(Test(name, function, timeout, alone, plain, long))
        return function
    return add


Test = collections.namedtuple("Test", "name function timeout alone plain long")


def check(condition, text):
    if not condition:
        raise Failure(text)


def equal(got, expected, what):
    if got != expected:
        raise Failure(f"{what}: got {got!r}, expected {expected!r}")


def await_true(condition, what, seconds=10, step=0.02):
    """Polls: the last resort where there is no event to wait for. Returns what was true."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure(f"{what}: not within {seconds} s")
        time.sleep(step)


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def entering(ns):
    """What to begin a command line with, so that it runs in a network namespace: its name, or
    something that knows how to enter()."""
    if ns is None:
        return []
    return ns.enter() if hasattr(ns, "enter") else ["ip", "netns", "exec", ns]


def need(*programs):
    """Paths of programs; the test is skipped if one is missing."""
    found = []
    for name in programs:
        path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
        if path is None:
            raise Skip(f"{name} is not installed")
        found.append(path)
    return found if len(found) > 1 else found[0]


# ---- processes -----------------------------------------------------------------------------------

class Stream(threading.Thread):
    """Reads one output of a process into a file and a list of lines that can be awaited."""

    def __init__(self, pipe, path):
        super().__init__(daemon=True)
        self.pipe, self.path = pipe, path
        self.lines, self.next, self.ended = [], 0, False
        self.changed = threading.Condition()
        self.start()

    def run(self):
        with open(self.path, "wb") as log:
            for line in self.pipe:
                log.write(line)
                log.flush()
                with self.changed:
                    self.lines.append(line.decode(errors="replace").rstrip("\n"))
                    self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def expect(self, pattern, seconds, what):
        """The match of the next line that matches, counted from the last one found."""
        end = time.monotonic() + seconds
        with self.changed:
            while True:
                while self.next < len(self.lines):
                    self.next += 1
                    found = re.search(pattern, self.lines[self.next - 1])
                    if found:
                        return found
                left = end - time.monotonic()
                if self.ended or left <= 0:
                    raise Failure(f"{what}: {'ended' if self.ended else f'{seconds} s passed'} "
                                  f"without a line like {pattern!r}; the last ones:\n"
                                  + "\n".join(self.lines[-15:]))
                self.changed.wait(left)

    def text(self):
        return "\n".join(self.lines)


class Proc:
    """A child process. Its outputs are logged and can be awaited; its end is checked by T."""

    def __init__(self, t, name, argv, ns=None, **kw):
        self.t, self.name, self.ended_well = t, name, None
        self.ns, full = ns, entering(ns) + argv
        kw.setdefault("stdin", subprocess.DEVNULL)
        base = t.unique(f"{t.dir}/{name}")
        with open(base + ".argv", "w") as f:
            f.write(" ".join(full) + "\n")
        self.p = subprocess.Popen(full, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  preexec_fn=die_with_parent, cwd=t.dir, **kw)
        self.pid = self.p.pid
        self.out = Stream(self.p.stdout, base + ".out")
        self.log = Stream(self.p.stderr, base + ".log")
        t.procs.append(self)

    def expect(self, pattern, seconds=20):
        return self.out.expect(pattern, seconds, self.name)

    def expect_log(self, pattern, seconds=20):
        return self.log.expect(pattern, seconds, self.name + "'s log")

    def wait(self, seconds=30):
        """Its exit code, and all of its output read."""
        try:
            code = self.p.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name} did not end in {seconds} s; its log:\n"
                          + "\n".join(self.log.lines[-15:])) from None
        self.out.join(5)
        self.log.join(5)
        if self.ended_well is None:
            self.ended_well = code
        return code

    def stop(self, sig=signal.SIGTERM, seconds=15):
        if self.p.poll() is None:
            self.p.send_signal(sig)
        return self.wait(seconds)

    def kill(self):
        """As a power failure would."""
        self.p.kill()
        self.p.wait()
        self.ended_well = 0

    def suspend(self):
        """It stands still, like a laptop that sleeps, until resume()."""
        self.p.send_signal(signal.SIGSTOP)

    def resume(self):
        self.p.send_signal(signal.SIGCONT)

    def running(self):
        return self.p.poll() is None

    def rss_anon(self):
        """Bytes of anonymous memory."""
        with open(f"/proc/{self.pid}/status") as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith("RssAnon:"))

    def cpu(self):
        return time.clock_gettime((~self.pid << 3) | 2)

    def fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))


class Load(Proc):
    """tests/bench/load: see the top of its source."""

    def result(self, seconds=60):
        """What it measured. Raises when it says that bytes were lost, repeated or changed."""
        code = self.wait(seconds)
        if code != 0:
            raise Failure(f"{self.name}: {self.log.text().strip() or f'exit code {code}'}")
        return json.loads(self.out.lines[-1])


class Node(Proc):
    """A running adit: exit, gateway or node."""

    def __init__(self, t, role, argv, state, ns=None, name=None, **kw):
        self.role, self.state = role, state
        super().__init__(t, name or role, argv, ns, **kw)
        t.nodes.append(self)

    socks = None  # (address, port) of a gateway

    @property
    def proxy(self):
        return f"{self.socks[0]}:{self.socks[1]}"

    def status(self):
        code, out, err = self.t.adit("status", "--json", *self.where())
        if code != 0:
            raise Failure(f"adit status: exit code {code}: {err}")
        return json.loads(out)

    def where(self):
        return ["--state", self.state, "-o", f"node.control={self.state}.sock"]


# ---- one test's world ----------------------------------------------------------------------------

class T:
    """What a test is given."""

    def __init__(self, program, directory, load_tool, sanitized, args):
        self.program, self.dir, self.load_tool = program, directory, load_tool
        self.sanitized, self.args, self.long = sanitized, args, args.long
        self.namespaces = f"{args.namespaces}{os.getpid()}"  # how names of network namespaces begin
        self.slow = 4 if sanitized else 1  # factor for waits that the sanitizers lengthen
        self.procs, self.nodes, self.notes, self.undo = [], [], [], []
        self.names = collections.Counter()

    def note(self, text):
        """Printed with the result: what was measured."""
        self.notes.append(text)

    def unique(self, base):
        self.names[base] += 1
        return base if self.names[base] == 1 else f"{base}-{self.names[base]}"

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, data):
        with open(self.path(name), "wb" if isinstance(data, bytes) else "w") as f:
            f.write(data)
        return self.path(name)

    def secret(self, name, text):
        """A file that only its owner can read."""
        path = self.write(name, text)
        os.chmod(path, 0o600)
        return path

    # -- programs --

    def spawn(self, name, *argv, ns=None, **kw):
        return Proc(self, name, [str(a) for a in argv], ns, **kw)

    def run(self, *argv, ns=None, seconds=60, ok=True, stdin=None, env=None):
        """Runs to the end; (exit code, stdout bytes, stderr text). ok: the code must be 0."""
        full = entering(ns) + list(argv)
        try:
            r = subprocess.run(full, input=stdin, capture_output=True, timeout=seconds,
                               cwd=self.dir, env=env, preexec_fn=die_with_parent)
        except subprocess.TimeoutExpired as e:
            raise Failure(f"{' '.join(full)}: {seconds} s passed; it said: "
                          f"{(e.stderr or b'')[-2000:].decode(errors='replace')}") from None
        err = r.stderr.decode(errors="replace")
        if ok and r.returncode != 0:
            raise Failure(f"{' '.join(full)}: exit code {r.returncode}: {err.strip()[-2000:]}")
        return r.returncode, r.stdout, err

    def adit(self, *argv, seconds=30, ns=None, stdin=None, env=None):
        """Runs an adit verb to the end: (exit code, stdout text, stderr text)."""
        code, out, err = self.run(self.program, *argv, ok=False, seconds=seconds, ns=ns,
                                  stdin=stdin, env=env)
        check(not CRASH.search(err) and code >= 0,
              f"adit {' '.join(argv)} crashed ({code}):\n{err}")
        return code, out.decode(errors="replace"), err

    # -- nodes --

    def node(self, role, *argv, state=None, ns=None, options=(), name=None, **kw):
        state = state or self.path(name or role)
        full = [self.program, role, "-c", "/dev/null", "--state", state,
                "-o", f"node.control={state}.sock"]
        for option in (*options, *([f"node.log={self.args.log}"] if self.args.log else ())):
            full += ["-o", option]
        return Node(self, role, full + list(argv), state, ns, name, **kw)

    def spawn_node(self, role, *argv, state, ns=None, name=None, **kw):
        """A node with exactly these arguments."""
        return Node(self, role, [self.program, role, *argv], state, ns, name, **kw)

    def exit(self, *options, state=None, ns=None, listen="127.0.0.1:0", name=None,
             allow=("127.0.0.0/8", "::1/128")):
        """Starts an exit and waits until its ticket is written; node.ticket is its file."""
        state = state or self.path(name or "exit")
        ticket = self.unique(state + ".ticket")
        n = self.node("exit", "--ticket-file", ticket, state=state, ns=ns, name=name,
                      options=[f"path.listen={listen}", *(f"exit.allow={a}" for a in allow),
                               *options])
        n.ticket = ticket
        n.id = n.expect(r"\b([a-z2-7]{52})\b", 20 * self.slow).group(1)
        await_true(lambda: os.path.exists(ticket) and os.path.getsize(ticket) > 0
                   and open(ticket).read().endswith("\n"), "the ticket file", 20)
        return n

    def gateway(self, ticket, *options, state=None, ns=None, listen=("127.0.0.1:0",), name=None,
                argv=(), reach="127.0.0.1:0"):
        """Starts a gateway with a ticket's file (or a peer's name) and waits until it is ready."""
        target = ["@" + ticket] if ticket and os.path.exists(ticket) else [ticket] if ticket else []
        n = self.node("gateway", *target, *argv, state=state, ns=ns, name=name,
                      options=[f"path.listen={reach}", *(f"gateway.listen={x}" for x in listen),
                               *options])
        n.socks = self.ready(n)
        return n

    def ready(self, n):
        m = n.expect(r"^ready: socks5://(\[?[0-9a-f.:]+?\]?):(\d+)$", 20 * self.slow)
        return m.group(1).strip("[]"), int(m.group(2))

    def pair(self, exit_options=(), gateway_options=(), **kw):
        """An exit and a gateway with its ticket."""
        e = self.exit(*exit_options, **kw)
        return e, self.gateway(e.ticket, *gateway_options)

    def ticket(self, node, *options, ns=None):
        """The file of another ticket of an exit that runs."""
        code, out, err = self.adit("ticket", "-c", "/dev/null", *options, *node.where(), ns=ns)
        equal(code, 0, f"adit ticket: {err}")
        return self.write(self.unique("ticket"), re.search(r"adit1\S+", out).group(0) + "\n")

    def expired_ticket(self, node, *options, ns=None):
        ticket = self.ticket(node, "--expires", "1s", *options, ns=ns)
        time.sleep(2.2)  # until the clock has passed it, which counts whole seconds
        return ticket

    # -- load --

    def server(self, ns=None, listen="127.0.0.1:0"):
        """`load serve'; ADDRESS:PORT of it."""
        p = Load(self, "server", [self.load_tool, "serve", listen], ns)
        return p.expect(r"^listening (.*)$").group(1)

    def load(self, *argv, to, via=None, ns=None, name="load", **kw):
        """Starts the load tool towards `to`, a server(), through the gateway `via`."""
        more = ["--socks", via if isinstance(via, str) else via.proxy] if via else []
        return Load(self, name, [self.load_tool, *map(str, argv), *more, "--to", to], ns, **kw)

    def held(self, to, pause=20, name="held", **kw):
        """An echo every `pause` ms, which is under way and goes on until it breaks."""
        p = self.load("echo", 3600, 64, "--pause", pause, to=to, name=name, **kw)
        p.expect("^started", 20 * self.slow)
        return p

    # -- the end --

    def finish(self):
        """Stops everything; a list of what went wrong outside the test's own checks."""
        faults = []
        for p in reversed(self.procs):
            if isinstance(p, Node):
                if p.ended_well is None and not p.running():
                    faults.append(f"{p.name} ended by itself with code {p.wait(5)}")
                elif p.ended_well is None:
                    try:
                        code = p.stop(seconds=15 * self.slow)
                        if code != 0:
                            faults.append(f"{p.name}: exit code {code} at SIGTERM")
                    except Failure as e:
                        faults.append(str(e))
                elif p.ended_well < 0:
                    faults.append(f"{p.name} was ended by signal {-p.ended_well}")
        for p in self.procs:
            if p.p.poll() is None:
                p.kill()
        for p in self.nodes:
            p.log.join(5)
            bad = [line for line in p.log.lines if CRASH.search(line)]
            if bad:
                faults.append(f"{p.name}'s log: " + "\n".join(bad[:5]))
        for undo in reversed(self.undo):
            with contextlib.suppress(Exception):
                undo()
        return faults

    def logs(self, lines=40):
        """The last lines of all logs, for a failure's report."""
        text = []
        for p in self.procs:
            for stream in (p.out, p.log):
                if stream.lines:
                    text.append(f"--- {os.path.basename(stream.path)}")
                    text += stream.lines[-lines:]
        return text


# ---- clients -------------------------------------------------------------------------------------

def split_address(text):
    host, port = text.rsplit(":", 1)
    return host.strip("[]"), int(port)


def read_exactly(s, n):
    data = b""
    while len(data) < n:
        chunk = s.recv(n - len(data))
        if not chunk:
            raise ConnectionError(f"end of file after {len(data)} of {n} bytes")
        data += chunk
    return data


def read_to_end(s):
    data = b""
    while chunk := s.recv(65536):
        data += chunk
    return data


def connect(address, seconds=30):
    """To (host, port) or the path of a unix socket."""
    if isinstance(address, str):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(seconds)
        s.connect(address)
        return s
    return socket.create_connection(address, seconds)


def socks5(proxy, host, port, user=None, seconds=30):
    """(reply code, socket) of a SOCKS5 CONNECT; host is an address or a name."""
    s = connect(proxy, seconds)
    s.sendall(b"\5\1\2" if user else b"\5\1\0")
    method = read_exactly(s, 2)
    if user:
        equal(method, b"\5\2", "SOCKS method")
        name, password = (x.encode() for x in user)
        s.sendall(bytes([1, len(name)]) + name + bytes([len(password)]) + password)
        if read_exactly(s, 2)[1] != 0:
            return "authentication failed", s
    elif method != b"\5\0":
        return method, s
    try:
        packed = ipaddress.ip_address(host).packed
        address = (b"\1" if len(packed) == 4 else b"\4") + packed
    except ValueError:
        address = b"\3" + bytes([len(host)]) + host.encode()
    s.sendall(b"\5\1\0" + address + struct.pack("!H", port))
    reply = read_exactly(s, 4)
    if reply[3] == 3:
        read_exactly(s, read_exactly(s, 1)[0] + 2)
    else:
        read_exactly(s, 18 if reply[3] == 4 else 6)
    return reply[1], s


def http_connect(proxy, host, port, headers=(), seconds=30):
    """(status, headers text, socket) of an HTTP CONNECT."""
    s = connect(proxy, seconds)
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    s.sendall("\r\n".join([f"CONNECT {where} HTTP/1.1", f"Host: {where}", *headers, "", ""])
              .encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += read_exactly(s, 1)
    return int(head.split()[1]), head.decode(), s


def sha256_file(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def free_port():
    """A TCP port of 127.0.0.1 on which nothing listens."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]

# SPDX-License-Identifier: MIT
"""The world around the nodes: web and DNS servers, a relay that can be cut, network namespaces."""

import collections
import contextlib
import ctypes
import hashlib
import http.server
import ipaddress
import os
import pwd
import shutil
import socket
import socketserver
import struct
import subprocess
import threading

from harness import Skip, check, need


class DualServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    address_family = socket.AF_INET

    def server_bind(self):
        """Without looking the address up, which takes seconds where there is no name server."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    def handle_error(self, request, client_address):
        pass  # a client that goes away is no news


class Web:
    """An HTTP server of the files in `root` on 127.0.0.1 and ::1 (or other addresses, in a network
    namespace), the same port on both. PUT answers with the SHA-256 of what came; `requests` has
    (method, path, host header)."""

    def __init__(self, t, root=None, tls=None, ns=None, addresses=("127.0.0.1", "::1"), port=0):
        self.root, self.requests = root or t.dir, []
        outer = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 120

            def __init__(self, *args):
                super().__init__(*args, directory=outer.root)

            def log_message(self, *args):
                pass

            def parse_request(self):
                ok = super().parse_request()
                if ok:
                    outer.requests.append((self.command, self.path, self.headers.get("Host")))
                return ok

            def copyfile(self, source, outputfile):
                shutil.copyfileobj(source, outputfile, 1 << 20)

            def do_PUT(self):
                if self.headers.get("Expect") == "100-continue":
                    self.send_response_only(100)
                    self.end_headers()
                digest = hashlib.sha256()
                for chunk in self.body():
                    digest.update(chunk)
                body = digest.hexdigest().encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_PUT

            def body(self):
                if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                    while size := int(self.rfile.readline().split(b";")[0], 16):
                        yield self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                    return
                left = int(self.headers.get("Content-Length", 0))
                while left > 0:
                    chunk = self.rfile.read(min(left, 1 << 20))
                    if not chunk:
                        raise ConnectionError("body ended early")
                    left -= len(chunk)
                    yield chunk

        self.server = within(ns, lambda: DualServer((addresses[0], port), Handler))
        self.port = self.server.server_address[1]
        servers = [self.server]

        class Six(DualServer):
            address_family = socket.AF_INET6
        try:
            servers.append(within(ns, lambda: Six((addresses[1], self.port), Handler)))
            self.six = True
        except OSError:
            self.six = False
        for s in servers:
            if tls:
                s.socket = tls.wrap_socket(s.socket, server_side=True)
            threading.Thread(target=s.serve_forever, daemon=True).start()
            t.undo.append(s.server_close)


class Dns:
    """A DNS server over UDP: names maps a name to a list of addresses. Others: NXDOMAIN; a name
    mapped to None is never answered. `asked` counts (name, type); answers are good for ttl s."""

    def __init__(self, t, names, ns=None, address=("127.0.0.1", 0), ttl=30):
        self.names, self.asked, self.ttl = names, collections.Counter(), ttl
        self.sock = within(ns, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.sock.bind(address)
        self.address = "%s:%d" % self.sock.getsockname()
        threading.Thread(target=self.serve, daemon=True).start()
        t.undo.append(self.sock.close)

    def serve(self):
        while True:
            try:
                query, client = self.sock.recvfrom(4096)
                answer = self.answer(query)
            except OSError:
                return
            except (IndexError, struct.error):
                continue
            if answer:
                self.sock.sendto(answer, client)

    def answer(self, query):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode("latin-1"))
            at += 1 + query[at]
        at += 1
        kind = struct.unpack_from("!H", query, at)[0]
        question, name = query[12:at + 4], ".".join(labels).lower()
        self.asked[name, kind] += 1
        known = name in self.names
        if known and self.names[name] is None:
            return None
        records = b""
        count = 0
        for text in self.names.get(name, ()):
            packed = ipaddress.ip_address(text).packed
            if kind == (1 if len(packed) == 4 else 28):
                records += b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, self.ttl, len(packed))
                records += packed
                count += 1
        return (query[:2] + struct.pack("!HHHHH", 0x8580 | (0 if known else 3), 1, count, 0, 0)
                + question + records)


def within(ns, function):
    """Calls it in a thread inside a network namespace: sockets made there stay in it."""
    if ns is None:
        return function()
    result = []

    def call():
        try:
            with open(f"/run/netns/{ns}") as f:
                if ctypes.CDLL(None, use_errno=True).setns(f.fileno(), 0x40000000) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            result.append(function())
        except OSError as e:
            result.append(e)
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    if isinstance(result[0], OSError):
        raise result[0]
    return result[0]


class Relay:
    """A TCP relay between gateway and exit that can be cut like a bad network: kill() resets the
    connections, stall() lets them hang in silence, and while refuse is set new ones end at once.
    It splices: bytes never come up here."""

    def __init__(self, t, to, listen="127.0.0.1", ns=None):
        self.to, self.ns = to, ns
        self.listener = within(ns, lambda: socket.create_server((listen, 0), backlog=64))
        self.address = "%s:%d" % self.listener.getsockname()[:2]
        self.lock = threading.Lock()
        self.pairs, self.made, self.refuse = [], 0, False
        self.flowing = threading.Event()
        self.flowing.set()
        self.connected = threading.Condition(self.lock)
        threading.Thread(target=self.accept, daemon=True).start()
        t.undo.append(self.listener.close)

    def accept(self):
        while True:
            try:
                a, _ = self.listener.accept()
            except OSError:
                return
            try:
                if self.refuse:
                    raise ConnectionRefusedError
                host, port = self.to.rsplit(":", 1)
                b = within(self.ns, lambda: socket.create_connection((host.strip("[]"), int(port)),
                                                                     5))
                b.settimeout(None)
            except OSError:
                a.close()
                continue
            for s in (a, b):
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = {"sockets": (a, b), "dead": False, "ended": 0, "gate": threading.Event()}
            pair["gate"].set()
            with self.lock:
                self.pairs.append(pair)
                self.made += 1
                self.connected.notify_all()
            for x, y in ((a, b), (b, a)):
                threading.Thread(target=self.pump, args=(pair, x, y), daemon=True).start()

    def pump(self, pair, source, sink):
        r, w = os.pipe()
        with contextlib.suppress(OSError):
            ctypes.CDLL(None).fcntl(w, 1031, 1 << 20)  # F_SETPIPE_SZ
        try:
            while True:
                n = os.splice(source.fileno(), w, 1 << 20)
                pair["gate"].wait()
                if pair["dead"]:
                    return
                if n == 0:
                    sink.shutdown(socket.SHUT_WR)
                    pair["ended"] += 1
                    if pair["ended"] == 2:
                        self.drop(pair, reset=False)
                    return
                while n > 0:
                    n -= os.splice(r, sink.fileno(), n)
                    pair["gate"].wait()
        except OSError:
            self.drop(pair, reset=True)
        finally:
            os.close(r)
            os.close(w)

    def drop(self, pair, reset):
        with self.lock:
            if pair["dead"]:
                return
            pair["dead"] = True
            if pair in self.pairs:
                self.pairs.remove(pair)
        pair["gate"].set()
        for s in pair["sockets"]:
            if reset:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
            s.close()

    def kill(self, reset=True):
        """Ends all connections; how many."""
        with self.lock:
            now = list(self.pairs)
        for pair in now:
            self.drop(pair, reset)
        return len(now)

    def shut(self):
        """Nothing gets through any more, until open()."""
        self.refuse = True
        self.kill()

    def open(self):
        self.refuse = False

    def stall(self):
        """The connections there are fall silent, for good or until resume(); new ones work."""
        with self.lock:
            for pair in self.pairs:
                pair["gate"].clear()

    def resume(self):
        with self.lock:
            for pair in self.pairs:
                pair["gate"].set()

    def await_connection(self, number, seconds=30):
        """Until so many connections have been made in all."""
        with self.lock:
            check(self.connected.wait_for(lambda: self.made >= number, seconds),
                  f"{self.made} path connections were made, {number} expected")


class Sshd:
    """An sshd at a port of 127.0.0.1 that lets in by key whoever runs the tests."""

    def __init__(self, t, port, ns=None):
        program, keygen = need("sshd", "ssh-keygen")
        me = pwd.getpwuid(os.geteuid())
        if me.pw_shell.endswith(("nologin", "false")):
            raise Skip(f"{me.pw_name} may not log in")
        self.t, self.user = t, me.pw_name
        for key in ("host", "user"):
            t.run(keygen, "-q", "-t", "ed25519", "-N", "", "-f", t.path(key))
        config = t.write("sshd_config", f"""Port {port}
ListenAddress 127.0.0.1
HostKey {t.path('host')}
PidFile none
AuthorizedKeysFile {t.path('user.pub')}
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
""")
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)
        server = t.spawn("sshd", program, "-D", "-e", "-f", config, ns=ns)
        server.expect_log("Server listening")

    def login(self, port, *options):
        """The words of an ssh to it, by way of this port of 127.0.0.1; a command may follow."""
        return [need("ssh"), "-F", "none", "-i", self.t.path("user"), "-o",
                "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={self.t.path('known')}",
                *options, "-p", str(port), f"{self.user}@127.0.0.1"]


def small_socket_buffers(t):
    """The name of a namespace with nothing but loopback, where the kernel buffers little: a reader
    that stalls there stalls soon."""
    if os.geteuid() != 0:
        raise Skip("network namespaces need root")
    ns = f"{t.namespaces}s"
    r = subprocess.run(["ip", "netns", "add", ns], capture_output=True, text=True)
    if r.returncode != 0:
        raise Skip(f"no network namespaces here: {r.stderr.strip()}")
    t.undo.append(lambda: subprocess.run(["ip", "netns", "del", ns]))
    t.run("ip", "-n", ns, "link", "set", "lo", "up")
    t.run("ip", "netns", "exec", ns, "sh", "-c",
          "for f in tcp_rmem tcp_wmem; do echo 4096 65536 131072 > /proc/sys/net/ipv4/$f; done")
    return ns


class Net:
    """Three namespaces: client - router - exit. The router forwards, and can stop doing so
    without either side noticing."""

    CLIENT, EXIT = "10.203.1.2", "10.203.2.2"

    def __init__(self, t):
        if os.geteuid() != 0:
            raise Skip("network namespaces need root")
        need("ip")
        self.t = t
        self.client, self.router, self.exit = (f"{t.namespaces}{x}" for x in "cre")
        for i, ns in enumerate((self.client, self.router, self.exit)):
            r = subprocess.run(["ip", "netns", "add", ns], capture_output=True, text=True)
            if r.returncode != 0 and i == 0:
                raise Skip(f"no network namespaces here: {r.stderr.strip()}")
            check(r.returncode == 0, r.stderr)
            t.undo.append(lambda ns=ns: subprocess.run(["ip", "netns", "del", ns]))
            self.ip(ns, "link set lo up")
        for ns, side, n in ((self.client, "c", 1), (self.exit, "e", 2)):
            t.run("ip", "link", "add", "eth0", "netns", ns, "type", "veth", "peer", "name", side,
                  "netns", self.router)
            self.ip(ns, f"address add 10.203.{n}.2/24 dev eth0")
            self.ip(ns, "link set eth0 up")
            self.ip(self.router, f"address add 10.203.{n}.1/24 dev {side}")
            self.ip(self.router, f"link set {side} up")
            self.ip(ns, f"route add default via 10.203.{n}.1")
        self.forward(True)

    def ip(self, ns, words):
        self.t.run("ip", "-n", ns, *words.split())

    def forward(self, on):
        """Off: packets vanish in the router, as they do in a network at fault."""
        self.t.run("ip", "netns", "exec", self.router, "sh", "-c",
                   f"echo {int(on)} > /proc/sys/net/ipv4/ip_forward")

    def cut(self):
        """The client's cable is out."""
        self.ip(self.client, "link set eth0 down")

    def restore(self):
        self.ip(self.client, "link set eth0 up")
        self.ip(self.client, "route replace default via 10.203.1.1")

    def renumber(self, address="10.203.1.77"):
        """The client is somewhere else: its old address is gone."""
        self.ip(self.client, "address flush dev eth0")
        self.ip(self.client, f"address add {address}/24 dev eth0")
        self.ip(self.client, "route replace default via 10.203.1.1")

    def relayed_pair(self, exit_options=(), gateway_options=()):
        """The exit can be reached through a relay in the router only: (exit, gateway, relay).
        What else the gateway tries vanishes in the router."""
        self.forward(False)
        relay = Relay(self.t, to=f"{self.EXIT}:7001", listen="10.203.1.1", ns=self.router)
        e = self.t.exit(f"path.advertise={relay.address}", *exit_options, ns=self.exit,
                        listen=f"{self.EXIT}:7001", allow=("10.203.0.0/16",))
        g = self.t.gateway(e.ticket, *gateway_options, ns=self.client)
        return e, g, relay

    def pair(self, exit_options=(), gateway_options=()):
        t = self.t
        e = t.exit(*exit_options, ns=self.exit, listen=f"{self.EXIT}:0", allow=("10.203.0.0/16",))
        g = t.gateway(e.ticket, *gateway_options, ns=self.client)
        return e, g

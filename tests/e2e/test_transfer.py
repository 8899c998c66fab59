# SPDX-License-Identifier: MIT
"""Bytes: whole, in order, both ways, half-closed, and honestly refused."""

import os
import socket
import struct
import subprocess
import threading
import time

from harness import (check, die_with_parent, equal, free_port, http_connect, need, read_exactly,
                     read_to_end, sha256_file, socks5, test)
from world import Dns, Web


def transfer(t, size):
    os.makedirs(t.path("www"))
    with open(t.path("www/big"), "wb") as f:
        for _ in range(size >> 20):
            f.write(os.urandom(1 << 20))
    digest = sha256_file(t.path("www/big"))
    web = Web(t, t.path("www"))
    _, g = t.pair()
    for proxy in ("socks5h", "http"):
        began = time.monotonic()
        more = ["-p"] if proxy == "http" else []
        base = [need("curl"), "-q", "-sS", "--noproxy", "", "-x", f"{proxy}://{g.proxy}", *more]
        fetch = subprocess.Popen([*base, f"http://127.0.0.1:{web.port}/big"],
                                 stdout=subprocess.PIPE, preexec_fn=die_with_parent)
        out = subprocess.run(["sha256sum"], stdin=fetch.stdout, capture_output=True, check=True)
        equal(fetch.wait(), 0, f"curl's exit code, download by {proxy}")
        equal(out.stdout.decode().split()[0], digest, f"download by {proxy}: SHA-256")
        half = time.monotonic()
        _, out, _ = t.run(*base, "-T", t.path("www/big"), "-H", "Expect:",
                          f"http://127.0.0.1:{web.port}/put", seconds=300)
        equal(out.decode(), digest, f"upload by {proxy}: SHA-256")
        t.note(f"{proxy} {size / (half - began) / 1e6:.0f} MB/s down, "
               f"{size / (time.monotonic() - half) / 1e6:.0f} up")


@test("transfer: 64 MiB down and up, SHA-256, by SOCKS and CONNECT", timeout=90)
def transfer_64m(t):
    transfer(t, 64 << 20)


@test("transfer: 1 GiB down and up, SHA-256, by SOCKS and CONNECT", timeout=300, long=True,
      plain=True)
def transfer_1g(t):
    transfer(t, 1 << 30)


class Once:
    """A server of one connection, served by a function in a thread; `result` is what it said."""

    def __init__(self, t, function):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(30)
        self.port = self.listener.getsockname()[1]
        self.result = None

        def serve():
            try:
                s, _ = self.listener.accept()
                s.settimeout(30)
                with s:
                    self.result = function(s)
            except OSError as e:
                self.result = e
        self.thread = threading.Thread(target=serve, daemon=True)
        self.thread.start()
        t.undo.append(self.listener.close)

    def wait(self):
        self.thread.join(30)
        check(not self.thread.is_alive(), "the server did not end")
        return self.result


@test("transfer: half-close by the client, then data from the server")
def half_close_client(t):
    _, g = t.pair()
    data = os.urandom(3 << 20)

    def serve(s):
        got = read_to_end(s)
        s.sendall(got[::-1])
        return got
    for by in ("socks", "connect"):
        server = Once(t, serve)
        if by == "socks":
            reply, s = socks5(g.socks, "127.0.0.1", server.port)
            equal(reply, 0, "SOCKS reply")
        else:
            reply, _, s = http_connect(g.socks, "127.0.0.1", server.port)
            equal(reply, 200, "CONNECT status")
        threading.Thread(target=lambda s=s: (s.sendall(data), s.shutdown(socket.SHUT_WR)),
                         daemon=True).start()
        check(read_to_end(s) == data[::-1], f"{by}: the answer after our end of file is wrong")
        check(server.wait() == data, f"{by}: the server got something else")


@test("transfer: half-close by the server, then data from the client")
def half_close_server(t):
    _, g = t.pair()
    data = os.urandom(3 << 20)

    def serve(s):
        s.sendall(b"first")
        s.shutdown(socket.SHUT_WR)
        return read_to_end(s)
    server = Once(t, serve)
    reply, s = socks5(g.socks, "127.0.0.1", server.port)
    equal(reply, 0, "SOCKS reply")
    equal(read_to_end(s), b"first", "until the server's end of file")
    s.sendall(data)
    s.shutdown(socket.SHUT_WR)
    check(server.wait() == data, "what came after the server's end of file is wrong")


@test("transfer: a reset at one end is a reset at the other")
def reset(t):
    _, g = t.pair()

    def reset_after_one(s):
        read_exactly(s, 1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server = Once(t, reset_after_one)
    _, s = socks5(g.socks, "127.0.0.1", server.port)
    s.sendall(b"x")
    try:
        got = read_to_end(s)
        check(False, f"a clean end of file ({got!r}) where the server had reset")
    except ConnectionResetError:
        pass
    # and the other way
    server = Once(t, read_to_end)
    _, s = socks5(g.socks, "127.0.0.1", server.port)
    s.sendall(b"x")
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()
    check(isinstance(server.wait(), ConnectionResetError),
          f"the server saw {server.result!r} where the client had reset")


@test("transfer: data pipelined behind the SOCKS request arrives")
def pipelined(t):
    _, g = t.pair()
    server = Once(t, lambda s: s.sendall(read_exactly(s, 5)[::-1]))
    s = socket.create_connection(g.socks, 20)
    s.sendall(b"\5\1\0\5\1\0\1\x7f\0\0\1" + struct.pack("!H", server.port) + b"hello")
    equal(read_exactly(s, 2), b"\5\0", "method")
    equal(read_exactly(s, 10)[1], 0, "reply")
    equal(read_exactly(s, 5), b"olleh", "answer")
    # one byte at a time
    server = Once(t, lambda s: s.sendall(read_exactly(s, 5)[::-1]))
    s = socket.create_connection(g.socks, 20)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in b"\5\1\0\5\1\0\1\x7f\0\0\1" + struct.pack("!H", server.port) + b"hello":
        s.sendall(bytes([byte]))
    equal(read_exactly(s, 12)[3], 0, "reply, sent bytewise")
    equal(read_exactly(s, 5), b"olleh", "answer, sent bytewise")


@test("answers: refused, unresolvable and forbidden are told apart", timeout=90)
def honest(t):
    dns = Dns(t, {"web.adit.test": ["127.0.0.1"], "private.adit.test": ["10.9.8.7"],
                  "silent.adit.test": None})
    _, g = t.pair(exit_options=[f"exit.resolver={dns.address}", "exit.connect_timeout=3s"])
    closed = free_port()
    for host, port, reply, statuses in (
            ("127.0.0.1", closed, 5, (502, 503)),
            ("web.adit.test", closed, 5, (502, 503)),
            ("nowhere.adit.test", 80, 4, (502, 404)),
            ("10.1.2.3", 80, 2, (403,)),
            ("private.adit.test", 80, 2, (403,)),
            ("169.254.169.254", 80, 2, (403,)),
            ("::ffff:10.1.2.3", 80, 2, (403,)),
            ("silent.adit.test", 80, None, (502, 504))):
        got, s = socks5(g.socks, host, port)
        if reply is None:
            check(got in (1, 4, 6), f"SOCKS reply {got} for {host}")
        else:
            equal(got, reply, f"SOCKS reply for {host}:{port}")
        equal(read_to_end(s), b"", "after a refusal")
        got, head, s = http_connect(g.socks, host, port)
        check(got in statuses, f"CONNECT {host}:{port}: {head}")
        s.settimeout(10)
        read_to_end(s)
    # plain HTTP says it in the same words
    for host, status in (("10.1.2.3", b"403"), (f"127.0.0.1:{closed}", b"502")):
        s = socket.create_connection(g.socks, 20)
        s.sendall(f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
                  .encode())
        answer = read_to_end(s)
        check(answer.split()[1] == status, f"GET http://{host}/: {answer[:300]!r}")
    # SOCKS4 has one code for all
    s = socket.create_connection(g.socks, 20)
    s.sendall(b"\4\1" + struct.pack("!H", closed) + b"\x7f\0\0\1user\0")
    equal(read_exactly(s, 8)[1], 91, "SOCKS4 reply")
    # BIND and UDP ASSOCIATE: not offered, and said so
    for command in (2, 3):
        s = socket.create_connection(g.socks, 20)
        s.sendall(b"\5\1\0\5" + bytes([command]) + b"\0\1\x7f\0\0\1\0\x50")
        equal(read_exactly(s, 4)[3], 7, f"SOCKS reply to command {command}")


@test("answers: by default an exit refuses this machine and private networks")
def policy_default(t):
    server = t.server()
    port = int(server.rsplit(":", 1)[1])
    _, g = t.pair(allow=())
    for host in ("127.0.0.1", "::1", "localhost", "10.0.0.1", "192.168.1.1", "100.64.0.1",
                 "0.0.0.0"):
        equal(socks5(g.socks, host, port)[0], 2, f"SOCKS reply for {host}")
        code, head, _ = http_connect(g.socks, host, port)
        equal(code, 403, f"CONNECT {host}")


@test("answers: no exit to be reached gives an honest failure, in time", timeout=60)
def no_path(t):
    e = t.exit()
    e.stop()
    g = t.gateway(e.ticket, "path.connect_wait=1500ms")
    began = time.monotonic()
    reply, _ = socks5(g.socks, "127.0.0.1", 80)
    took = time.monotonic() - began
    check(reply in (1, 3, 4), f"SOCKS reply {reply}")
    check(1.0 < took < 8, f"answered after {took:.1f} s, path.connect_wait being 1.5 s")
    code, head, _ = http_connect(g.socks, "127.0.0.1", 80)
    check(code in (502, 503, 504), head)
    t.note(f"SOCKS reply {reply} after {took:.2f} s, HTTP {code}")


@test("answers: several addresses for a name, the first of them dead", timeout=60)
def happy_eyeballs(t):
    web = Web(t)
    t.write("hello", "hello\n")
    dns = Dns(t, {"two.adit.test": ["::1", "127.0.0.1"],
                  "dead6.adit.test": ["100::1", "127.0.0.1"]})
    # only IPv4 is served on this port
    server = Once(t, lambda s: s.sendall(b"four"))
    _, g = t.pair(exit_options=[f"exit.resolver={dns.address}", "exit.allow=100::/64"])
    reply, s = socks5(g.socks, "two.adit.test", server.port)
    equal((reply, read_to_end(s)), (0, b"four"), "the second address")
    began = time.monotonic()
    reply, s = socks5(g.socks, "dead6.adit.test", web.port)
    equal(reply, 0, "a name whose IPv6 address is a black hole")
    t.note(f"black hole passed by in {(time.monotonic() - began) * 1e3:.0f} ms")

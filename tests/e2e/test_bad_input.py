# SPDX-License-Identifier: MIT
"""Malformed, hostile and slow clients, while somebody else's transfer goes on."""

import os
import random
import resource
import socket
import struct
import time

from harness import await_true, check, equal, read_to_end, socks5, split_address, test
from world import Web

OK5 = b"\5\1\0"
LONG = b"a" * 70000

# (what, bytes, how the answer must begin; None: closed without one, or any answer)
BATTERY = [
    ("nothing", b"", None),
    ("a zero byte", b"\0", None),
    ("SOCKS version 3", b"\3\1\0", None),
    ("SOCKS version 6", b"\6\1\0", None),
    ("SOCKS5 with no methods", b"\5\0", b"\5\xff"),
    ("SOCKS5 with unknown methods", b"\5\2\x80\x81", b"\5\xff"),
    ("SOCKS5 with GSSAPI only", b"\5\1\1", b"\5\xff"),
    ("SOCKS5 request of another version", OK5 + b"\4\1\0\1\x7f\0\0\1\0\x50", None),
    ("SOCKS5 unknown command", OK5 + b"\5\x7f\0\1\x7f\0\0\1\0\x50", b"\5\0\5\7"),
    ("SOCKS5 command 0", OK5 + b"\5\0\0\1\x7f\0\0\1\0\x50", b"\5\0\5\7"),
    ("SOCKS5 unknown address type", OK5 + b"\5\1\0\2\x7f\0\0\1\0\x50", b"\5\0\5\x08"),
    ("SOCKS5 empty name", OK5 + b"\5\1\0\3\0\0\x50", b"\5\0\5"),
    ("SOCKS5 name with a NUL", OK5 + b"\5\1\0\3\4a\0bc\0\x50", b"\5\0\5"),
    ("SOCKS5 name with CR LF", OK5 + b"\5\1\0\3\4a\r\nb\0\x50", b"\5\0\5"),
    ("SOCKS5 name of 255 bytes", OK5 + b"\5\1\0\3\xff" + b"x" * 255 + b"\0\x50", b"\5\0\5"),
    ("SOCKS5 port 0", OK5 + b"\5\1\0\1\x7f\0\0\1\0\0", b"\5\0\5"),
    ("SOCKS5 cut short", OK5 + b"\5\1\0\1\x7f", None),
    ("SOCKS5 RFC 1929 unasked", OK5 + b"\1\1a\1b", None),
    ("SOCKS4 with an endless user", b"\4\1\0\x50\x7f\0\0\1" + LONG, None),
    ("SOCKS4 BIND", b"\4\2\0\x50\x7f\0\0\1\0", b"\0\x5b"),
    ("SOCKS4 command 9", b"\4\x09\0\x50\x7f\0\0\1\0", b"\0\x5b"),
    ("SOCKS4a with an endless name", b"\4\1\0\x50\0\0\0\1\0" + LONG, None),
    ("SOCKS4a empty name", b"\4\1\0\x50\0\0\0\1\0\0", b"\0\x5b"),
    ("HTTP garbage", b"\xff\xfe\xfd\r\n\r\n", None),
    ("HTTP no target", b"GET\r\n\r\n", b"HTTP/1.1 400"),
    ("HTTP version 9.9", b"GET http://a/ HTTP/9.9\r\n\r\n", b"HTTP/1.1 "),
    ("HTTP endless method", LONG, None),
    ("HTTP endless URL", b"GET http://127.0.0.1/" + LONG, b"HTTP/1.1 4"),
    ("HTTP endless header", b"GET http://127.0.0.1/ HTTP/1.1\r\nA: " + LONG, b"HTTP/1.1 4"),
    ("HTTP 10,000 headers", b"GET http://127.0.0.1/ HTTP/1.1\r\n" + b"A: b\r\n" * 10000,
     b"HTTP/1.1 4"),
    ("HTTP CONNECT without port", b"CONNECT 127.0.0.1 HTTP/1.1\r\n\r\n", b"HTTP/1.1 400"),
    ("HTTP CONNECT port 99999", b"CONNECT 127.0.0.1:99999 HTTP/1.1\r\n\r\n", b"HTTP/1.1 400"),
    ("HTTP CONNECT port 0", b"CONNECT 127.0.0.1:0 HTTP/1.1\r\n\r\n", b"HTTP/1.1 400"),
    ("HTTP CONNECT bad IPv6", b"CONNECT [::1:80 HTTP/1.1\r\n\r\n", b"HTTP/1.1 400"),
    ("HTTP NUL in the target", b"GET http://a\0b/ HTTP/1.1\r\n\r\n", b"HTTP/1.1 400"),
    ("HTTP ftp URL", b"GET ftp://127.0.0.1/ HTTP/1.1\r\n\r\n", b"HTTP/1.1 "),
    ("HTTP two lengths", b"POST http://127.0.0.1:1/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"
     b"Content-Length: 2\r\n\r\nxx", b"HTTP/1.1 400"),
    ("HTTP length and chunks", b"POST http://127.0.0.1:1/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5"
     b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"HTTP/1.1 "),
    ("HTTP negative length", b"POST http://127.0.0.1:1/ HTTP/1.1\r\nHost: a\r\nContent-Length: -1"
     b"\r\n\r\n", b"HTTP/1.1 400"),
    ("HTTP huge length", b"POST http://127.0.0.1:1/ HTTP/1.1\r\nHost: a\r\nContent-Length: "
     b"99999999999999999999999\r\n\r\n", b"HTTP/1.1 4"),
    ("HTTP folded header", b"GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
     b"HTTP/1.1 "),
    ("HTTP space before the colon", b"GET http://127.0.0.1:1/ HTTP/1.1\r\nHost : a\r\n\r\n",
     b"HTTP/1.1 400"),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"HTTP/1.1 "),
    ("TLS client hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), None),
]


def send(address, data, finish=True, seconds=15):
    """Everything that comes back until the end; None if it did not end."""
    s = socket.create_connection(address, seconds)
    try:
        s.sendall(data)
        if finish:
            s.shutdown(socket.SHUT_WR)
        return read_to_end(s)
    except (ConnectionResetError, BrokenPipeError):
        return b""
    except TimeoutError:
        return None
    finally:
        s.close()


@test("bad input: 45 malformed requests beside a transfer", timeout=120)
def battery(t):
    _, g = t.pair(gateway_options=["gateway.request_timeout=2s"])
    to = t.server()
    transfer = t.load("bulk", "down", 0, 1, "--verify", to=to, via=g, name="beside")
    transfer.expect("^started")
    wrong = []
    for what, data, start in BATTERY:
        # once with our end of file behind it, once waiting for the answer or the time limit
        for finish in (True, False):
            got = send(g.socks, data, finish)
            if got is None:
                wrong.append(f"{what}{'' if finish else ', held open'}: never closed")
            elif start is not None and not got.startswith(start) and got != b"":
                wrong.append(f"{what}: answered {got[:80]!r}, expected {start!r}...")
            elif start is not None and got == b"" and len(data) < 60000:
                wrong.append(f"{what}: closed without an answer, expected {start!r}...")
    check(not wrong, "\n".join(wrong))
    check(transfer.running(), f"the transfer beside broke: {transfer.log.text()}")
    transfer.p.terminate()
    r = transfer.result()
    t.note(f"{2 * len(BATTERY)} cases; beside: {r['bytes'] / 1e6:.0f} MB, silent at most "
           f"{r['stall_ms']:.0f} ms")
    t.load("connect", 2, 0.2, to=to, via=g).result()


@test("bad input: random bytes at the gateway and at the exit's path port", timeout=90)
def noise(t):
    e = t.exit()
    g = t.gateway(e.ticket)
    to = t.server()
    held = t.held(to, via=g, pause=5, name="beside")
    path = path_address(e)
    rng = random.Random(7)
    for i in range(60):
        data = rng.randbytes(rng.choice((1, 2, 16, 100, 1500, 60000)))
        if i % 3 == 0:
            data = b"\5\1\0\5\1\0" + data
        elif i % 3 == 1:
            data = b"GET http://" + data
        check(send(g.socks, data) is not None, f"noise {i} at the gateway: never closed")
        got = send(path, rng.randbytes(rng.choice((1, 40, 64, 600, 5000))))
        equal(got, b"", f"noise {i} at the path port")
    check(held.running(), f"the echo beside broke: {held.log.text()}")
    held.p.terminate()
    held.result()


def path_address(e):
    """Where the exit listens for paths: the TCP listener that is its."""
    inodes = {os.readlink(f"/proc/{e.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{e.pid}/fd")}
    with open(f"/proc/{e.pid}/net/tcp") as f:
        for line in f.read().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                return "127.0.0.1", int(fields[1].split(":")[1], 16)
    raise AssertionError("the exit listens nowhere")


@test("bad input: a stranger at the path port learns nothing and holds nothing", timeout=60)
def stranger(t):
    e, g = t.pair(exit_options=["path.handshake_timeout=1s"])
    path = path_address(e)
    before = e.fds()
    # silence: closed when the handshake's time is over
    silent, turned_away = [], 0
    began = time.monotonic()
    for _ in range(50):
        try:
            silent.append(socket.create_connection(path, 10))
        except ConnectionResetError:
            turned_away += 1  # one too many from this address
    for s in silent:
        try:
            equal(s.recv(100), b"", "what a silent stranger gets")
        except ConnectionResetError:
            turned_away += 1
    check(turned_away < 50, "all were turned away")
    t.note(f"{turned_away} of 50 silent strangers turned away, the others closed after "
           f"{time.monotonic() - began:.1f} s")
    # TLS without the preface
    equal(send(path, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)), b"",
          "what TLS without a preface gets")
    equal(send(path, b"GET / HTTP/1.0\r\n\r\n"), b"", "what HTTP gets")
    await_true(lambda: e.fds() <= before + 1, "the strangers' descriptors given back", 10)
    to = t.server()
    t.load("connect", 2, 0.2, to=to, via=g).result()


@test("bad input: 300 slow clients do not keep others out", timeout=60)
def slow(t):
    _, g = t.pair(gateway_options=["gateway.request_timeout=3s"])
    to = t.server()
    slow = [socket.create_connection(g.socks, 10) for _ in range(300)]
    for i, s in enumerate(slow):
        s.sendall((b"\5", b"\4\1\0", b"GET http://x/ HT")[i % 3])
    t.load("connect", 4, 0.3, to=to, via=g).result()
    for i, s in enumerate(slow):
        s.settimeout(15)
        try:
            read_to_end(s)
        except ConnectionResetError:
            pass
    t.load("connect", 4, 0.3, to=to, via=g).result()


@test("bad input: clients that vanish at every stage leave nothing behind", timeout=60)
def vanish(t):
    _, g = t.pair()
    web = Web(t)
    t.write("hello", "hello\n")
    t.load("connect", 2, 0.2, to=t.server(), via=g).result()
    before = g.fds()
    request = (b"\5\1\0\5\1\0\1\x7f\0\0\1" + struct.pack("!H", web.port)
               + b"GET /hello HTTP/1.0\r\n\r\n")
    plain = f"GET http://127.0.0.1:{web.port}/hello HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    for data in (request, plain):
        for n in range(len(data) + 1):
            s = socket.create_connection(g.socks, 10)
            s.sendall(data[:n])
            if n % 2:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.close()
    await_true(lambda: g.fds() <= before + 1, "the clients' descriptors given back", 20)


@test("bad input: a peer that takes all of the exit's descriptors keeps nobody out", timeout=60)
def greedy(t):
    e = t.exit()
    resource.prlimit(e.pid, resource.RLIMIT_NOFILE, (64, 64))
    g = t.gateway(e.ticket)
    host, port = split_address(t.server())
    taken, refused = [], 0
    while refused == 0:
        code, s = socks5(g.socks, host, port)
        taken.append(s)
        refused += code != 0
        check(len(taken) < 64, "the exit refuses nobody")
    equal(code, 1, "what who comes too late is told")
    # status, a new ticket, and another gateway's path do not need what others can take
    code, out, err = t.adit("ticket", *e.where())
    equal(code, 0, f"adit ticket: {err}")
    ticket = t.write("ticket", next(w for w in out.split() if w.startswith("adit1")) + "\n")
    second = t.gateway(ticket, name="second")
    await_true(lambda: second.status()["peers"][0]["paths"], "the second gateway's path", 10)
    for s in taken:
        s.close()
    t.note(f"{len(taken) - 1} connections with 64 descriptors")
    await_true(lambda: socks5(second.socks, host, port)[0] == 0, "the exit serves again", 10)

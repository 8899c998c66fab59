# SPDX-License-Identifier: MIT
"""adit turn, and others who do not do what it expects: senders without manners, peers that answer,
servers that are set up badly."""

import json
import os
import subprocess
import sys

from harness import await_true, check, equal, need, test
from turn_space import PEER, SERVER, Listener, Space, advised, login, probe


# A sender who offers files that are too large, or a byte of each, and confirms no answer for a while.
DEAF = r"""
import os, socket, struct, sys, time
to, offers, size = (sys.argv[1], int(sys.argv[2])), int(sys.argv[3]), int(sys.argv[4])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
s.bind((sys.argv[5], 0))
tag, bond, sent, acked, next_, answers, listens = os.urandom(8), 0, [], 0, 0, {}, False

def hear(seconds):
    global bond, acked, next_
    end = time.time() + seconds
    while seconds > 0:
        s.settimeout(max(end - time.time(), 0.001))
        try:
            d = s.recv(65536)
        except socket.timeout:
            return
        if d[0] == 0xD1:
            theirs, = struct.unpack(">Q", d[4:12])
            bond, seconds = theirs ^ int.from_bytes(tag[4:] + tag[:4], "big"), 0
        elif d[0] == 0xD3:
            acked = max(acked, struct.unpack(">I", d[10:14])[0])
            seconds = min(seconds, 0.001)
        elif d[0] == 0xD2 and listens:
            number, when = struct.unpack(">II", d[10:18])
            answers[number] = d[18:19]
            while next_ in answers:
                next_ += 1
            s.sendto(struct.pack(">BBQIIII", 0xD3, 0, bond, next_, next_ + 4000, when, 0), to)

def send(message):
    sent.append(struct.pack(">BBQII", 0xD2, 7, bond, len(sent), 1) + message)
    s.sendto(sent[-1], to)
    while len(sent) - acked > 100:
        hear(0.1)
        for packet in sent[acked:acked + 50]:
            s.sendto(packet, to)

while bond == 0:
    s.sendto(struct.pack(">BBH8sQQ", 0xD1, 1, 1, tag, 0, 0), to)
    hear(0.5)
for i in range(offers):
    send(b"\2" + struct.pack(">IQ", i, size) + os.urandom(32) + b"name%d" % i)
    send(b"\5" + struct.pack(">IQ", i, 0) + b"x")
while acked < len(sent):
    hear(0.1)
    for packet in sent[acked:acked + 50]:
        s.sendto(packet, to)
listens = True
hear(3)
print(next_)
"""


@test("turn listen: who offers without end, and confirms nothing, costs nothing", timeout=90)
def deaf(t):
    need("turnserver", "ss")
    space = Space(t)
    space.coturn()
    listener = Listener(space, "--accept", PEER)
    host, port = listener.address.split(":")
    for size, offers in ((1 << 60, 1500), (1000, 300)):  # refused, accepted
        out = space.run(sys.executable, "-c", DEAF, host, port, str(offers), str(size), PEER,
                        seconds=60)[1]
        # Each answer has 4 bytes and the reason, or 13; of 64 KiB more are not made.
        equal((int(out) > 100, int(out) < 1000), (True, True), f"{out.decode().strip()} answers")
        check(len(os.listdir(listener.inbox)) <= 1, "parts of a byte")
    listener.stop()


@test("turn send: what the other side says is no line of ours, and JSON stays JSON", timeout=60)
def answered(t):
    need("turnserver", "ss")
    space = Space(t)
    space.coturn()
    echo = space.spawn("echo", sys.executable, "-uc",
                       "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                       f"s.bind(('{PEER}', 0)); print('at', s.getsockname()[1])\n"
                       "while True: s.sendto(*s.recvfrom(9000))")
    to = f"{PEER}:{echo.expect('^at (.*)$').group(1)}"
    for json_ in ((), ("--json",)):
        p = space.spawn(f"send{len(json_)}", t.program, "turn", "send", *login(t), "--server",
                        f"turn:{SERVER}", "--plain", *json_, "--to", to, stdin=subprocess.PIPE)
        p.p.stdin.write(b"sent: 9 messages\n")
        p.p.stdin.flush()
        line = p.expect("^(.*9 messages.*)$").group(1)
        p.p.stdin.close()
        equal(p.wait(20), 0, "exit code")
        if not json_:
            equal(line, f"{to}: sent: 9 messages", "the line")
            continue
        event = json.loads(line)
        equal([event[k] for k in ("event", "from", "text")], ["message", to, "sent: 9 messages"],
              "the event")


@test("turn probe: a server that grants everything, and relays nothing, does not work", timeout=90)
def leads_nowhere(t):
    nft = need("nft")
    need("turnserver", "ss")
    space = Space(t)
    udp = f"turn:{SERVER}?transport=udp"

    def stop(server):
        server.stop()
        server.ended_well = 0
        await_true(lambda: b":3478" not in space.run("ss", "-Hlnut", ok=False)[1], "its end")

    # The address that it lends is not its own.
    server = space.coturn(f"--external-ip=198.51.100.7/{SERVER}")
    result = probe(space, udp, time_="0")
    advised(result, f"{SERVER} lends 198.51.100.7, but is itself at {SERVER}")
    stop(server)

    # A firewall before its relay ports; without a measurement nobody can know.
    server = space.coturn("--min-port=50000", "--max-port=50100")
    for rule in ("add table inet f", "add chain inet f in { type filter hook input priority 0 ; }",
                 "add rule inet f in udp dport 50000-50100 drop"):
        space.run(nft, rule)
    result = probe(space, udp, code=1)
    advised(result, "relay ports are closed")
    equal(result["legs"][0]["works"], False, "works")
    probe(space, udp, time_="0")
    stop(server)

    # It lends its loopback.
    server = space.spawn("loopback", need("turnserver"), "-c", "/dev/null", "-n", "--no-cli",
                         "--lt-cred-mech", "--user=alice:secret", "--realm=test",
                         f"--listening-ip={SERVER}", "--relay-ip=127.0.0.1", "--log-file=stdout",
                         "--simple-log", f"--pidfile={t.path('other.pid')}",
                         f"--userdb={t.path('other.db')}")
    await_true(lambda: b":3478" in space.run("ss", "-Hlnut", ok=False)[1], "coturn's port", 20)
    advised(probe(space, udp, code=1), "lends 127.0.0.1, an address of its own")
    stop(server)

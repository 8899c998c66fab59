# SPDX-License-Identifier: MIT
"""adit turn: the toolbox, against coturn, in a network namespace with addresses of its own."""

import json
import os
import re
import signal
import subprocess
import sys

from harness import Skip, await_true, check, equal, need, test

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


class Space:
    """A namespace whose loopback has the addresses of a server and its peers."""

    def __init__(self, t):
        if os.geteuid() != 0:
            raise Skip("network namespaces need root")
        need("ip")
        self.t, self.name = t, f"{t.namespaces}t"
        r = subprocess.run(["ip", "netns", "add", self.name], capture_output=True, text=True)
        if r.returncode != 0:
            raise Skip(f"no network namespaces here: {r.stderr.strip()}")
        t.undo.append(lambda: subprocess.run(["ip", "netns", "del", self.name]))
        for words in ("link set lo up", f"address add {SERVER}/24 dev lo",
                      f"address add {PEER}/24 dev lo", f"address add {SERVER6}/64 dev lo nodad"):
            t.run("ip", "-n", self.name, *words.split())

    def run(self, *argv, **kw):
        return self.t.run(*argv, ns=self.name, **kw)

    def adit(self, *argv, **kw):
        return self.t.adit("turn", *argv, ns=self.name, **kw)

    def spawn(self, name, *argv, **kw):
        return self.t.spawn(name, *argv, ns=self.name, **kw)

    def coturn(self, *more):
        """A server with the user alice, password secret."""
        p = self.spawn("coturn", need("turnserver"), "-c", "/dev/null", "-n", "-v", "--no-cli",
                       f"--listening-ip={SERVER}", f"--listening-ip={SERVER6}",
                       f"--relay-ip={SERVER}", f"--relay-ip={SERVER6}", "--realm=test",
                       "--lt-cred-mech", "--user=alice:secret", "--log-file=stdout",
                       "--simple-log", f"--pidfile={self.t.path('coturn.pid')}",
                       f"--userdb={self.t.path('coturn.db')}", "--allow-loopback-peers", *more)
        p.expect(r"(?i)total .*relay threads|UDP listener opened on.*3478", 20)
        await_true(lambda: b":3478" in self.run("ss", "-Hlnu", ok=False)[1], "coturn's port")
        return p

    def capture(self, file):
        p = self.spawn("capture", sys.executable, "-c", CAPTURE, file)
        p.expect("^ready$")
        return p


def decode(t, *argv, code=0, **kw):
    got, out, err = t.adit("turn", "decode", "-c", "/dev/null", *argv, **kw)
    equal(got, code, f"exit code of turn decode {' '.join(argv)}: {err}{out[-500:]}")
    return out if "--json" not in argv else [json.loads(line) for line in out.splitlines()]


@test("turn decode: hex in many forms, a message in many words", timeout=30)
def hex_forms(t):
    message = ("0001000021 12a442 41424344454647484 94a4b4c").replace(" ", "")
    for text in (message, ":".join(re.findall("..", message)),
                 "{" + ", ".join("0x" + b for b in re.findall("..", message)) + "};"):
        out = decode(t, "--hex", text)
        check(out.startswith("#1 Binding request, 20 bytes, id 4142434445464748494a4b4c\n"), out)
    equal(decode(t, "--hex", message, "--json")[0]["method"], "Binding", "the method")
    # The dump of a whole Ethernet frame, on standard input.
    frame = bytes.fromhex("0202020202020404040404040800" "4500003000070000401100000a0000010a000002"
                          "13880d96001c0000" + message)
    dump = "\n".join(f"{i:04x}   {frame[i:i + 16].hex(' ')}" for i in range(0, len(frame), 16))
    out = decode(t, "-", stdin=dump.encode())
    check("UDP 10.0.0.1:5000 > 10.0.0.2:3478: Binding request" in out, out)
    for bad, words in (("nonsense", "neither hex"), ("", "nothing to decode")):
        code, _, err = t.adit("turn", "decode", "-c", "/dev/null", "--hex", bad)
        check(code == 1 and words in err, err)
    out = decode(t, "--hex", message.replace("0001", "0201"), code=1)
    check("unknown method" in out and "unknown or malformed: 1 (#1)" in out, out)


@test("turn decode: nothing is left unknown of sessions of coturn's client", timeout=120)
def coturn_sessions(t):
    client = need("turnutils_uclient")
    need("turnutils_peer", "ss")
    space = Space(t)
    space.coturn("--mobility")
    space.spawn("peer", need("turnutils_peer"), "-L", PEER, "-p", "3480")
    password = t.write("password", "secret\n")
    login = [client, "-u", "alice", "-w", "secret", "-n", "3", "-m", "1", "-e", PEER, "-r", "3480"]
    sessions = {"channels": [], "indications": ["-s", "-l", "1600"], "tcp": ["-t"],
                "mobility": ["-M"], "pair": ["-y", "-c"], "tcp-relay": ["-t", "-T", "-y"],
                "wrong": ["-w", "wrong"]}
    for name, options in sessions.items():
        file = t.path(name + ".pcap")
        capture = space.capture(file)
        space.run(*login, *options, SERVER, ok=name != "wrong", seconds=40)
        capture.stop(signal.SIGTERM)
        capture.ended_well = 0
        events = decode(t, "--json", "--password-file", password, file)
        summary = events.pop()["summary"]
        check(summary["requests"] > 4 and summary["unclear"] == 0, summary)
        check(all(e["clear"] and not e["problems"] for e in events), f"{name}: not clear")
        text = decode(t, "--password-file", password, file)
        check("nothing in it is unknown or malformed" in text, text[-1000:])
        wrong = sum("WRONG" in line for line in text.splitlines())
        check((wrong > 0) == (name == "wrong"), f"{name}: {wrong} wrong integrities")
        answers = [e for e in events if e.get("role") == "answer"]
        check(all(0 <= e["rtt_ms"] < 5000 and e["request"] < e["number"] for e in answers), name)
        if name != "wrong":
            equal(summary["methods"]["Allocate"]["answered"],
                  summary["methods"]["Allocate"]["requests"], f"{name}: Allocate")
            check(summary["kinds"]["relayed"] > 0, f"{name}: relayed data")
        t.note(f"{name}: {summary['kinds']['stun']} messages, "
               f"{summary['kinds']['channel']} ChannelData")


@test("turn decode: live, and it says who may", timeout=60)
def live(t):
    need("turnutils_stunclient")
    space = Space(t)
    space.coturn()
    p = space.spawn("decode", t.program, "turn", "decode", "-c", "/dev/null", "--live", "lo")
    p.expect_log("listening on lo")
    space.run("turnutils_stunclient", SERVER, ok=False)
    p.expect(r"#1 0\.000000 UDP .* > 10\.9\.0\.1:3478: Binding request")
    p.expect(r"answers #1 after \d+\.\d+ ms")
    equal(p.stop(signal.SIGINT), 0, "exit code")
    check("in all: " in p.out.text(), p.out.text())
    code, _, err = space.adit("decode", "-c", "/dev/null", "--live", "none0")
    check(code == 1 and "no interface 'none0'" in err, err)
    code, _, err = space.t.adit("turn", "decode", "-c", "/dev/null", "--to", "1.2.3.4:5")
    equal(code, 2, "an option of no verb")

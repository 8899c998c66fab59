# SPDX-License-Identifier: MIT
"""adit turn: the toolbox, against coturn, in a network namespace with addresses of its own."""

import json
import os
import re
import signal
import subprocess
import sys
import termios

from harness import await_true, check, equal, need, test
from turn_space import (PEER, SERVER, SERVER6, Listener, Space, advised, certificate, login, probe,
                        send, yes)


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
    cert, key = certificate(t)
    space.coturn("--mobility", f"--cert={cert}", f"--pkey={key}")
    space.spawn("peer", need("turnutils_peer"), "-L", PEER, "-p", "3480")
    password = t.write("password", "secret\n")
    login = [client, "-u", "alice", "-w", "secret", "-n", "3", "-m", "1", "-e", PEER, "-r", "3480"]
    sessions = {"channels": [], "indications": ["-s", "-l", "1600"], "tcp": ["-t"],
                "mobility": ["-M"], "pair": ["-y", "-c"], "tcp-relay": ["-t", "-T", "-y"],
                "dual": ["-Z"], "padded": ["-D", "-G"], "tls": ["-t", "-S", "-p", "5349"],
                "dtls": ["-S", "-p", "5349"],
                "wrong": ["-w", "wrong"]}
    for name, options in sessions.items():
        file = t.path(name + ".pcap")
        capture = space.capture(file)
        space.run(*login, *options, SERVER, ok=name != "wrong", seconds=40)
        capture.stop(signal.SIGTERM)
        capture.ended_well = 0
        # A wrong password is wrong in the capture too, which scripts learn by the exit code.
        code = 1 if name == "wrong" else 0
        events = decode(t, "--json", "--password-file", password, file, code=code)
        summary = events.pop()["summary"]
        if name in ("tls", "dtls"):
            check(summary["kinds"]["records"] > 10, summary)
            text = decode(t, file)
            check(f"{name.upper()}: ClientHello" in text and "application data" in text, text)
            continue
        check(summary["requests"] > 4 and summary["unclear"] == 0, summary)
        check(all(e["clear"] and not e["problems"] for e in events), f"{name}: not clear")
        text = decode(t, "--password-file", password, "--brief", file, code=code)
        check("nothing in it is unknown or malformed" in text, text[-1000:])
        wrong = sum(line.endswith("WRONG") for line in text.splitlines())
        equal((summary["integrity"]["wrong"], wrong > 0), (wrong, name == "wrong"),
              f"{name}: wrong integrities")
        check((summary["integrity"]["right"] > 4) == (name != "wrong"), summary["integrity"])
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


# ---- listen and send -----------------------------------------------------------------------------

@test("turn send: messages and files arrive in order, by UDP, TCP and TLS", timeout=120)
def transfer(t):
    need("turnserver", "openssl", "ss")
    space = Space(t)
    cert, key = certificate(t)
    space.coturn(f"--cert={cert}", f"--pkey={key}")
    data = os.urandom(3_000_001)
    t.write("some data", data)
    t.write("empty", b"")
    legs = [(f"turn:{SERVER}", f"turn:{SERVER}"),
            (f"turn:{SERVER}?transport=tcp", f"turn:{SERVER}"),
            (f"turns:{SERVER}", f"turn:{SERVER}?transport=tcp"),
            (f"turn:[{SERVER6}]", f"turns:{SERVER}")]
    for to, by in legs:
        listener = Listener(space, "--ca-file", cert, server=to)
        out, _ = send(space, listener.address, "--ca-file", cert, "first", t.path("some data"),
                      "second", t.path("empty"), "third", server=by)
        check(re.search(r"^sent: some data, 3000001 bytes, .*B/s, sha256 [0-9a-f]{64}$", out,
                        re.M), out)
        for line in ("first$", r"file some data, 3000001 bytes, (\S+ \S+), sha256", "second$",
                     "file empty, 0 bytes", "third$"):
            found = listener.p.expect(r"^[\d.]+:\d+: " + line)
            if found.groups():
                t.note(f"{by} to {to}: {found.group(1)}")
        listener.has("some data", data)
        listener.has("empty", b"")
        send(space, listener.address, "--ca-file", cert, t.path("some data"), server=by)
        listener.p.expect(r"file some data\.1, ")  # nothing is overwritten
        send(space, listener.address, "--ca-file", cert, server=by, stdin=b"a line\nanother")
        listener.p.expect(": a line$")
        listener.p.expect(": another$")
        listener.stop()


@test("turn send: an interrupted file goes on where it ended", timeout=120)
def resume(t):
    need("turnserver", "ss")
    space = Space(t)
    space.coturn()
    data = os.urandom(60_000_000)
    file = t.write("big", data)
    listener = Listener(space, "--once")
    sender = space.spawn("send", t.program, "turn", "send", *login(t), "--server",
                         f"turn:{SERVER}", "--to", listener.address, file)

    def part():
        names = [n for n in os.listdir(listener.inbox) if n.endswith(".part")]
        return names and os.path.getsize(os.path.join(listener.inbox, names[0])) or 0
    await_true(lambda: part() > 1_000_000, "a part of the file", 30)
    check(sender.running(), "the file was too short for this test")
    sender.kill()
    had = part()
    out, err = send(space, listener.address, file)
    found = re.search(r"the listener has (\d+) bytes of it already", err)
    check(found and int(found.group(1)) >= had, err)
    equal(listener.p.wait(20), 0, "exit code of listen --once")
    listener.has("big", data)
    equal(os.listdir(listener.inbox), ["big"], "what is left in the inbox")


@test("turn listen: what a sender says stays one line, and steers nothing", timeout=60)
def one_line(t):
    need("turnserver", "ss")
    space = Space(t)
    space.coturn()
    evil = "x\n10.9.0.1:1: file evil, 3 bytes\x1b[2J\u202e \\n"
    named = t.write("new\nline\x1b[31m", b"1")
    broken = os.path.join(os.fsencode(t.dir), b"no\xffutf8")
    with open(broken, "wb") as f:
        f.write(b"2")
    listener = Listener(space)
    out, _ = send(space, listener.address, evil, named, os.fsdecode(broken))
    check(r"sent: new\nline\x1b[31m, 1 bytes" in out and r"sent: no\xffutf8, " in out, out)
    listener.p.expect(r"file no_utf8, ")
    lines = listener.p.out.lines
    equal(len(lines), 4, "lines")
    check(lines[1].endswith(r": x\n10.9.0.1:1: file evil, 3 bytes\x1b[2J\u202e \\n"), lines[1])
    check(": file new_line_[31m, 1 bytes" in lines[2], lines[2])
    listener.has("new_line_[31m", b"1")
    listener.stop()
    # JSON is ASCII, and nothing is lost of what is no text.
    p = space.spawn("json", t.program, "turn", "listen", *login(t), "--server", f"turn:{SERVER}",
                    "--json")
    address = json.loads(p.expect(r'^(\{.*"ready".*)').group(1))["address"]
    send(space, address, "--text", evil, os.fsdecode(b"\xff1"))
    event = json.loads(p.expect(r"^(.*bytes.*)$").group(1))
    equal(event["text"], evil, "the text")
    line = p.expect(r"^(.*text_hex.*)$").group(1)
    check(line.isascii() and json.loads(line)["text_hex"] == "ff31", line)
    equal(p.stop(), 0, "exit code")
    # Raw: messages only.
    p = space.spawn("raw", t.program, "turn", "listen", *login(t), "--server", f"turn:{SERVER}",
                    "--raw", "--output", listener.inbox)
    address = p.expect_log(r"^address: (\S+)$").group(1)
    send(space, address, evil, named)
    p.expect_log(r"file new_line_\[31m\.1, |file new_line_\[31m, ")
    equal(p.stop(), 0, "exit code")
    equal(p.out.text(), evil, "standard output")


@test("turn listen: what is too large is refused, and the sender is told", timeout=60)
def limits(t):
    need("turnserver", "ss")
    space = Space(t)
    space.coturn()
    large, small = t.write("large", b"x" * 5000), t.write("small", b"x" * 4096)
    listener = Listener(space, "--max-size", "4K")
    _, err = send(space, listener.address, "before", large, "behind", code=1)
    check("refused: the file is too large" in err and "--max-size" in err, err)
    listener.p.expect_log("not authenticated")
    listener.p.expect(": before$")
    listener.p.expect_log("refused to 10.9.0.1:.*too large")
    equal(os.listdir(listener.inbox), [], "what is kept")
    send(space, listener.address, small)
    listener.has("small", b"x" * 4096)
    listener.stop()
    listener = Listener(space, "--max-size", "0")
    _, err = send(space, listener.address, small, code=1)
    check("messages only" in err, err)
    listener.stop()
    code, _, err = space.adit("listen", *login(t), "--server", f"turn:{SERVER}", "--max-size", "x")
    check(code == 2 and "--max-size x: a size" in err, err)


@test("turn send: files of one name do not mix, also when one was cut", timeout=120)
def same_name(t):
    need("turnserver", "ss")
    space = Space(t)
    space.coturn()
    os.mkdir(t.path("a"))
    os.mkdir(t.path("b"))
    first, other = os.urandom(40_000_000), os.urandom(3_000_000)
    t.write("a/file", first)
    t.write("b/file", other)
    listener = Listener(space)
    sender = space.spawn("send", t.program, "turn", "send", *login(t), "--server",
                         f"turn:{SERVER}", "--to", listener.address, t.path("a/file"))

    def parts():
        return [n for n in os.listdir(listener.inbox) if n.endswith(".part") and
                os.path.getsize(os.path.join(listener.inbox, n)) > 500_000]
    await_true(parts, "a part of the file", 30)
    sender.kill()
    _, err = send(space, listener.address, t.path("b/file"))
    check("already" not in err, err)
    listener.has("file", other)
    _, err = send(space, listener.address, t.path("a/file"))
    check("already" in err, err)
    listener.p.expect(r"file file\.1, 40000000 bytes")
    listener.has("file.1", first)
    # Damage to a part is noticed, and the next time begins anew.
    sender = space.spawn("send", t.program, "turn", "send", *login(t), "--server",
                         f"turn:{SERVER}", "--to", listener.address, t.path("a/file"))
    name = await_true(parts, "a part of the file", 30)[0]
    sender.kill()
    with open(os.path.join(listener.inbox, name), "r+b") as f:
        f.write(b"damage")
    _, err = send(space, listener.address, t.path("a/file"), code=1)
    check("what arrived is not what was sent" in err, err)
    send(space, listener.address, t.path("a/file"))
    listener.has("file.2", first)
    equal(sorted(os.listdir(listener.inbox)), ["file", "file.1", "file.2"], "the inbox")
    listener.stop()


@test("turn send: a listener that does not answer is waited for, and that is told", timeout=90)
def waited_for(t):
    need("turnserver", "ss")
    space = Space(t)
    space.coturn()
    file = t.write("big", os.urandom(40_000_000))
    listener = Listener(space)
    sender = space.spawn("send", t.program, "turn", "send", *login(t), "--server",
                         f"turn:{SERVER}", "--to", listener.address, file)
    await_true(lambda: any(n.endswith(".part") for n in os.listdir(listener.inbox)), "the file")
    os.kill(listener.p.pid, signal.SIGSTOP)
    sender.expect_log("has not answered for [56] s; waiting for it")
    os.kill(listener.p.pid, signal.SIGCONT)
    sender.expect_log("answers again")
    equal(sender.wait(40), 0, "exit code")
    listener.stop()


@test("turn send: a listener that is gone is given up, whatever was under way", timeout=200, long=True)
def gone(t):
    need("turnserver", "ss")
    space = Space(t)
    space.coturn()
    file = t.write("big", os.urandom(60_000_000))
    # The first sends a file; the second a message that is longer than what is under way at once;
    # the third, lines, one of them to nobody.
    listener = Listener(space)
    to = ["--server", f"turn:{SERVER}", "--to", listener.address]
    files = space.spawn("files", t.program, "turn", "send", *login(t), *to, file)
    await_true(lambda: any(n.endswith(".part") for n in os.listdir(listener.inbox)), "the file")
    lines = space.spawn("lines", t.program, "turn", "send", *login(t), *to, stdin=subprocess.PIPE)
    lines.p.stdin.write(b"one\n")
    lines.p.stdin.flush()
    listener.p.expect(": one$")
    os.kill(listener.p.pid, signal.SIGSTOP)
    long = space.spawn("long", t.program, "turn", "send", *login(t), *to, "x" * 100_000)
    lines.p.stdin.write(b"two\n")
    lines.p.stdin.flush()
    listener.p.kill()
    equal(long.wait(45), 1, "exit code")
    check("no answer" in long.log.text() and "given up" in long.log.text(), long.log.text())
    for sender in (files, lines):
        equal(sender.wait(90), 1, "exit code")
        check("waiting for it" in sender.log.text(), sender.log.text())
        check("the listener is gone" in sender.log.text() or "given up" in sender.log.text(),
              sender.log.text())
        check("again" in sender.log.text(), sender.log.text())
    for sender in (files, lines, long):
        sender.ended_well = 0


@test("turn send: what can go wrong is told with what to do", timeout=150)
def troubles(t):
    need("turnserver", "ss")
    space = Space(t)
    space.coturn("--denied-peer-ip=10.9.0.77")
    listener = Listener(space)
    wrong = t.write("wrong", "nonsense")
    cases = [
        (["--server", f"turn:{SERVER}", "--to", listener.address, "--password-file", wrong],
         "does not accept user"),
        (["--server", f"turn:{SERVER}:9", "--to", listener.address], "9"),
        (["--server", f"turn:{SERVER}", "--to", "10.9.0.77:1234"], "10.9.0.77"),
        (["--server", f"turn:{SERVER}?transport=sctp", "--to", listener.address], "transport="),
        (["--server", f"turn:{SERVER}", "--to", listener.address[:5]], "is no address"),
        (["--server", f"turn:{SERVER}"], "--to ADDRESS is missing"),
        (["--to", listener.address], "no TURN server is known"),
        (["--server", f"turn:{SERVER}", "--to", listener.address, "--profile", "work"],
         "no section [turn work]"),
        (["--server", f"turn:{SERVER}", "--to", listener.address, "/no/such/file"], "No such file"),
    ]
    for argv, words in cases:
        more = [] if "--password-file" in argv else ["--password-file", t.path("pw")]
        code, _, err = space.adit("send", "-c", "/dev/null", "--user", "alice", *more, *argv,
                                  *([] if argv[-1].startswith("/no") else ["hello"]), seconds=60)
        check(code in (1, 2) and words in err, f"{argv}: {code} {err}")
        check("nonsense" not in err, f"a password in {err}")
    # Nobody listens: which address has to be permitted is told.
    p = space.spawn("send", t.program, "turn", "send", *login(t), "--server", f"turn:{SERVER}",
                    "--to", f"{PEER}:9999", "hello")
    p.expect_log(r"no answer from 10\.9\.0\.3:9999 yet.* --accept 10\.9\.0\.1", 30)
    p.stop()
    p.ended_well = 0
    listener.stop()


@test("turn send: by a profile of the configuration: server, login, authority", timeout=60)
def profile(t):
    need("turnserver", "ss")
    space = Space(t)
    cert, key = certificate(t)
    space.coturn(f"--cert={cert}", f"--pkey={key}")
    password = t.write("pw", "secret\n")
    conf = t.write("adit.conf", f"[turn own]\nserver = turns:{SERVER}\nuser = alice\n"
                                f"password_file = {password}\nca_file = {cert}\n")
    who = ["-c", conf, "--profile", "own"]
    for mode, is_warned in ((0o644, True), (0o640, False)):
        os.chmod(password, mode)
        listener = space.spawn("listen", t.program, "turn", "listen", *who)
        address = listener.expect(r"^address: (\S+)$", 20 * t.slow).group(1)
        code, _, err = space.adit("send", *who, "--to", address, "hello", seconds=30)
        check(code == 0 and (f"chmod o= {password}" in err) == is_warned, err)
        listener.expect(": hello$")
        equal(listener.stop(), 0, "the listener's exit code")
    code, out, err = t.adit("check", "-c", conf, "-o", "turn.own.ca_file=/missing.pem")
    check(code == 0 and "turn.own.ca_file: /missing.pem cannot be read" in out, out + err)


@test("turn send: plain datagrams to and from other programs; servers by name", timeout=60)
def plain(t):
    need("turnserver", "ss")
    space = Space(t)
    space.coturn()
    conf = t.write("adit.conf", f"[turn work]\nserver = turn:{SERVER}\nuser = alice\n"
                                f"password_file = {t.write('pw', 'secret')}\n")
    os.chmod(conf, 0o600)
    echo = space.spawn("echo", sys.executable, "-uc", f"""
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("{PEER}", 7777))
print("ready")
while True:
    data, sender = s.recvfrom(2000)
    print(repr(data))
    if data.startswith(b"to "):
        host, port = data[3:].decode().split(":")
        s.sendto(b"hello\\x1b[1m", (host, int(port)))
""")
    echo.expect("ready")
    p = space.spawn("listen", t.program, "turn", "listen", "-c", conf, "--profile", "work",
                    "--plain", "--once", "--json", "--accept", PEER)
    address = json.loads(p.expect(r'^(\{.*"ready".*)').group(1))["address"]
    code, _, err = space.adit("send", "-c", conf, "--profile", "work", "--plain", "--to",
                              f"{PEER}:7777", f"to {address}")
    equal(code, 0, f"plain send: {err}")
    echo.expect(re.escape(repr(f"to {address}".encode())))
    event = json.loads(p.expect(r'^(\{.*"message".*)').group(1))
    equal((event["from"], event["text"]), (f"{PEER}:7777", "hello\x1b[1m"), "the message")
    equal(p.wait(10), 0, "exit code")
    echo.kill()


# ---- probe ---------------------------------------------------------------------------------------

@test("turn probe: what a server offers, by every leg and family", timeout=120, alone=True)
def offers(t):
    need("turnserver", "ss")
    space = Space(t)
    cert, key = certificate(t)
    space.coturn(f"--cert={cert}", f"--pkey={key}", "--mobility")
    result = probe(space, "--ca-file", cert, SERVER, f"turn:[{SERVER6}]", time_="1s")
    legs = result["legs"]
    equal([(x["transport"], x["family"]) for x in legs],
          [(x, y) for y in ("IPv4", "IPv6") for x in ("udp", "tcp", "tls")], "the legs")
    for leg in legs[:5]:  # the certificate is for the IPv4 address
        yes(leg, "reachable", "login", "relay_ipv4", "relay_ipv6", "permission_own", "channel",
            "mobility")
        equal((leg["realm"], leg["software"][:6], leg["lifetime_s"]), ("test", "Coturn", 600),
              "what the server says")
        check(leg["rtt_ms"] > 0 and leg["relayed_ipv6"].startswith("[fd09::1]:"), leg)
        flow = leg["throughput"]
        check(flow["mbit"] > 1 and flow["loss_percent"] < 20 and flow["largest"] >= 1448, flow)
        check(("tcp_relay" in leg) == (leg["transport"] != "udp"), "RFC 6062")
        t.note(f"{leg['transport']}/{leg['family']}: {flow['mbit']:.0f} Mbit/s, "
               f"{flow['loss_percent']:.1f} %, {flow['latency_ms']:.1f} ms")
    for leg in legs[1:3]:
        yes(leg, "tcp_relay")
    check(not legs[5]["reachable"]["yes"], "a certificate for another address was accepted")
    code, out, _ = space.adit("probe", *login(t), "--time", "0", f"turn:{SERVER}?transport=udp")
    equal(code, 0, "as text")
    for line in (r"reachable +yes, round trip [\d.]+ ms", r'server +Coturn.*, realm "test"',
                 r"relay IPv4 +10\.9\.0\.1:\d+, for 600 s", r"^a relay can work by turn:"):
        check(re.search(line, out, re.M), f"no {line!r} in: {out}")


@test("turn probe: what is wrong, and what to do about it", timeout=180)
def wrongs(t):
    need("turnserver", "ss")
    space = Space(t)
    cert, key = certificate(t)
    udp = f"turn:{SERVER}?transport=udp"

    def serve(*options):
        p = space.coturn(f"--cert={cert}", f"--pkey={key}", *options)

        def stop():
            p.stop()
            p.ended_well = 0
            await_true(lambda: b":3478" not in space.run("ss", "-Hlnut", ok=False)[1], "its end")
        return stop

    stop = serve("--denied-peer-ip=10.9.0.0-10.9.0.255")
    advised(probe(space, udp, password="wrong", code=1), "refuses this user or password")
    advised(probe(space, udp, who=(), password=None, code=1), "--user with --password-file")
    result = probe(space, udp, code=1)
    advised(result, "refuses our own address", "refuses its own relayed address")
    check("403" in str(result) or "policy" in str(result), result)
    advised(probe(space, f"turns:{SERVER}", code=1), "certificate", "--ca-file")
    advised(probe(space, f"turn:{PEER}:1?transport=tcp", code=1), "nothing listens on port 1")
    advised(probe(space, f"turn:{PEER}:1?transport=udp", code=1), "not reached at all")
    code, _, err = space.adit("probe", *login(t), "no-such-name.invalid", seconds=60)
    check(code == 1 and "no-such-name.invalid: " in err, err)
    stop()

    stop = serve("--no-udp", "--no-tcp-relay", "--user-quota=1")
    result = probe(space, "--ca-file", cert, SERVER)
    advised(result, "over TCP, but not over UDP")
    tcp = result["legs"][1]
    check(not tcp["tcp_relay"]["yes"], tcp)
    check(not tcp["second_allocation"]["yes"] and "allocations" in tcp["second_allocation"]["why"],
          tcp)
    stop()

    stop = serve("--no-udp-relay")
    result = probe(space, f"turn:{SERVER}?transport=tcp", code=1)
    advised(result, "relays no UDP")
    yes(result["legs"][0], "login", "tcp_relay")
    stop()

    stop = serve("--no-tls", "--use-auth-secret", "--static-auth-secret=north")
    secret, other = t.write("north", "north\n"), t.write("south", "south\n")
    probe(space, udp, "--secret-file", secret, who=("--user", "bob"), password=None)
    advised(probe(space, udp, "--secret-file", other, who=(), password=None, code=1),
            "time-limited credentials were refused")
    advised(probe(space, udp, who=("--user", "1600000000:bob"), code=1), "time of their end")
    advised(probe(space, SERVER, "--secret-file", secret, who=(), password=None), "offers no TLS")
    stop()


OTHERS = r"""
import socket, sys, threading
def serve(port, greeting, answer):
    s = socket.socket()
    s.bind((sys.argv[1], port))
    s.listen()
    def run():
        while True:
            c = s.accept()[0]
            c.sendall(greeting)
            threading.Thread(target=talk, args=(c,), daemon=True).start()
    def talk(c):
        while (data := c.recv(4096)):
            c.sendall(data if answer is None else answer)
    threading.Thread(target=run, daemon=True).start()
serve(8022, b"SSH-2.0-OpenSSH_9.2p1\r\n", b"")
serve(8080, b"", b"")
serve(8443, b"", b"HTTP/1.0 400 Bad Request\r\n\r\n")
serve(8007, b"", None)
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.bind((sys.argv[1], 8007))
print("ready", flush=True)
while True:
    data, sender = u.recvfrom(4096)
    u.sendto(data, sender)
"""


def expired_certificate(t):
    """With a key of its own; `openssl ca' is the one that sets both dates."""
    os.mkdir(t.path("ca"))
    config = t.write("ca/conf", f"""[ca]
default_ca = x
[x]
new_certs_dir = {t.path("ca")}
database = {t.write("ca/index", "")}
serial = {t.write("ca/serial", "01")}
default_md = sha256
policy = p
copy_extensions = copy
[p]
commonName = supplied
[req]
distinguished_name = n
[n]
""")
    openssl, key, cert = need("openssl"), t.path("ca/key"), t.path("ca/cert")
    t.run(openssl, "req", "-new", "-newkey", "rsa:2048", "-nodes", "-config", config, "-keyout",
          key, "-out", t.path("ca/request"), "-subj", "/CN=test", "-addext",
          f"subjectAltName=IP:{SERVER}")
    t.run(openssl, "ca", "-batch", "-selfsign", "-config", config, "-keyfile", key, "-in",
          t.path("ca/request"), "-out", cert, "-notext", "-startdate", "20200101000000Z",
          "-enddate", "20200102000000Z")
    return cert, key


@test("turn probe: other services, certificates, and servers that send elsewhere", timeout=120)
def elsewhere(t):
    need("turnserver", "ss", "openssl")
    space = Space(t)
    cert, key = certificate(t)
    space.spawn("others", sys.executable, "-c", OTHERS, PEER).expect("^ready$")
    for uri, words in (("turn:%s:8022?transport=tcp", "is no TURN server"),
                       ("turn:%s:8080?transport=tcp", "does not answer STUN"),
                       ("turn:%s:8007?transport=tcp", "does not answer STUN"),
                       ("turn:%s:8007?transport=udp", "not reached at all"),
                       ("turns:%s:8443", "does not speak TLS")):
        advised(probe(space, uri % PEER, code=1), words)
    space.coturn(f"--cert={cert}", f"--pkey={key}")
    advised(probe(space, f"turns:{SERVER}", code=1), "authority that is not known", "--ca-file")
    advised(probe(space, "--ca-file", cert, f"turns:[{SERVER6}]", code=1), "for another name")
    cert, key = expired_certificate(t)
    web = space.spawn("expired", need("openssl"), "s_server", "-accept", f"{SERVER}:5443", "-cert",
                      cert, "-key", key, "-quiet")
    await_true(lambda: f"{SERVER}:5443".encode() in space.run("ss", "-Hlnt")[1], "its port")
    advised(probe(space, "--ca-file", cert, f"turns:{SERVER}:5443", code=1), "has expired",
            "set this machine's clock, which has 20")
    web.kill()
    # The same port at another address: sends those who come there to SERVER.
    other = space.spawn("redirector", need("turnserver"), "-c", "/dev/null", "-n", "--no-cli",
                        f"--listening-ip={PEER}", f"--relay-ip={PEER}", "--realm=test",
                        "--log-file=stdout", "--simple-log", "--no-tls", "--no-dtls",
                        f"--pidfile={t.path('other.pid')}", f"--userdb={t.path('other.db')}",
                        "--lt-cred-mech", "--user=alice:secret",
                        f"--alternate-server={SERVER}:3478")
    await_true(lambda: f"{PEER}:3478".encode() in space.run("ss", "-Hlnu")[1], "the other's port")
    leg = probe(space, f"turn:{PEER}?transport=udp")["legs"][0]
    equal(leg["redirected"], f"{SERVER}:3478", "where it was sent")
    check(leg["relayed_ipv4"].startswith(f"{SERVER}:"), leg)
    other.stop()
    other.ended_well = 0
    # Interrupted: what was found so far, and no verdict.
    p = space.spawn("probe", t.program, "turn", "probe", *login(t), "--time", "20s",
                    f"turn:{SERVER}?transport=udp")
    p.expect_log("by IPv4")
    equal(p.stop(signal.SIGINT), 1, "exit code")
    check("interrupted: not all was asked" in p.out.text() and "cannot work" not in p.out.text(),
          p.out.text())


@test("turn send: Ctrl-C is heard at the prompt, and while a file is read", timeout=60)
def interrupted(t):
    need("turnserver", "ss")
    space = Space(t)
    space.coturn()
    server = ["-c", "/dev/null", "--user", "alice", "--server", f"turn:{SERVER}"]
    # The terminal shows again what is typed, whichever way the process ends, or stops.
    for number in (signal.SIGINT, signal.SIGTERM):
        leader, follower = os.openpty()

        def echoes():
            return bool(termios.tcgetattr(leader)[3] & termios.ECHO)
        p = space.spawn("listen", t.program, "turn", "listen", *server, stdin=follower)
        await_true(lambda: not echoes(), "the password's prompt")
        p.stop(number)
        p.ended_well = 0
        check(echoes(), "the terminal does not show what is typed")
        os.close(leader)
        os.close(follower)
    # Sparse, so it is large, but takes long only to be hashed.
    with open(t.path("huge"), "wb") as f:
        f.truncate(1 << 40)
    r, w = os.pipe()
    for argv, more in ((t.path("huge"), {}), ("-", {"stdin": r})):
        p = space.spawn("send", t.program, "turn", "send", *login(t), "--server", f"turn:{SERVER}",
                        "--to", f"{SERVER}:9999", "--text" if argv == "x" else argv, **more)
        await_true(lambda: space.run("ss", "-Hnup")[1].count(f"pid={p.pid},".encode()) > 0,
                   "its socket")
        equal(p.stop(signal.SIGINT, 5), 1, f"exit code of send {argv}")
        p.ended_well = 0
    os.close(r)
    os.close(w)
    # Of what cannot be waited for, without a word of the event loop.
    code, _, err = space.adit("send", *login(t), "--server", f"turn:{SERVER}", "--to",
                              f"{SERVER}:9999")
    equal((code, err), (0, "adit: standard input was empty: nothing was sent\n"), "nothing to send")


@test("turn send: at a terminal, the peer's address and the password are asked for", timeout=60)
def prompts(t):
    need("turnserver", "ss")
    space = Space(t)
    space.coturn()
    listener = Listener(space, "--once")
    leader, follower = os.openpty()
    p = space.spawn("send", t.program, "turn", "send", "-c", "/dev/null", "--user", "alice",
                    "--server", f"turn:{SERVER}", "hello", stdin=follower)
    os.write(leader, f"{listener.address}\n".encode())
    await_true(lambda: not termios.tcgetattr(leader)[3] & termios.ECHO, "the password's prompt")
    os.write(leader, b"secret\n")
    equal(p.wait(30), 0, f"turn send: {p.log.text()}")
    check("address of the peer" in p.log.text() and "password of alice" in p.log.text(),
          p.log.text())
    listener.p.expect(": hello$")
    equal(listener.p.wait(20), 0, "the listener's exit code")


LOSSY = r"""
import random, selectors, socket, sys
random.seed(1)
front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
front.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
front.bind((sys.argv[1], 3478))
selector, flows = selectors.DefaultSelector(), {}
selector.register(front, selectors.EVENT_READ, None)
print("ready", flush=True)
while True:
    for key, _ in selector.select():
        data, sender = key.fileobj.recvfrom(65536)
        if data[0] >= 64 and random.random() < 0.05:
            continue
        if key.data is not None:
            front.sendto(data, key.data)
            continue
        if sender not in flows:
            flows[sender] = s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            s.connect((sys.argv[2], 3478))
            selector.register(s, selectors.EVENT_READ, sender)
        flows[sender].send(data)
"""


@test("turn probe: loss on the way is measured, and a file arrives in spite of it", timeout=120, alone=True)
def lossy(t):
    need("turnserver", "ss")
    space = Space(t)
    space.coturn()
    space.spawn("line", sys.executable, "-c", LOSSY, PEER, SERVER).expect("ready")
    # Drops ChannelData: messages on their way to the server. They come back in indications.
    result = probe(space, f"turn:{PEER}?transport=udp", time_="4s")
    loss = result["legs"][0]["throughput"]["loss_percent"]
    # On a busy machine the line and coturn lose some of their own.
    check(2.5 < loss < 15, f"{loss} % were measured, 5 % are lost")
    advised(result, "% of what it relays")
    data = os.urandom(500_000)
    listener = Listener(space, server=f"turn:{PEER}")
    out, _ = send(space, listener.address, t.write("file", data), "behind it",
                  server=f"turn:{PEER}")
    listener.p.expect(": behind it$")
    listener.has("file", data)
    listener.stop()
    t.note(f"{loss:.1f} % measured; {re.search('[0-9.]+ [kM]B/s', out).group()} for the file")

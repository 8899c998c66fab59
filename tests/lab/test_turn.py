# SPDX-License-Identifier: MIT
"""TURN: two clients behind NATs, and real servers that die, forget, refuse and expire."""

import base64
import hmac
import json
import re
import time

from harness import Failure, await_true, check, equal, need
from lab import Link, Nat, Pauses, lab_test
from turn import PASSWORD, USER, Chat, Client, Coturn, capturing, random_file

SYMMETRIC = "apd/apd/random"
SOAK_MINUTES = 25


def two(lab, nat=SYMMETRIC, link=None):
    """Hosts at two sites."""
    return [lab.site(name, nat=Nat(nat) if nat else None, link=link).host(name)
            for name in ("anna", "bert")]


def rate_of(out):
    return re.search(r"[\d.]+ [kM]B/s", out).group(0)


def file_bytes(lab):
    return 100_000_000 if lab.long else (16 << 20) // lab.slow


@lab_test("turn: messages and a file between two symmetric NATs, by every leg", timeout=240)
def legs(lab):
    server = Coturn(lab, tls=True)
    hosts = two(lab)
    path, digest = random_file(lab.t, file_bytes(lab))
    for here, there, more in ((("udp", 4), ("udp", 4), ()), (("udp", 4), ("tcp", 4), ()),
                              (("tls", 4), ("udp", 4), ()), (("udp", 4), ("udp", 6), ()),
                              (("tcp", 6), ("tls", 4), ("--family", "6"))):
        one, other = (Client(host, server.uri(*leg), ca=server.ca)
                      for host, leg in zip(hosts, (here, there), strict=True))
        listener = other.listen(*more)
        check(("[" in listener.address) == bool(more), f"a relayed address: {listener.address}")
        back = one.listen(*more)
        out, _ = one.send(listener.address, "before", path, "after")
        listener.p.expect(": before$")
        listener.has("data", digest)
        listener.p.expect(": after$")
        other.send(back.address, "and the other way")
        back.p.expect(": and the other way$")
        lab.note(f"{here[0]}/IPv{here[1]} to {there[0]}/IPv{there[1]}"
                 + (", relayed by IPv6" if more else "") + f": {rate_of(out)}")
        for p in (listener, back):
            p.stop()


@lab_test("turn: past the lifetimes of nonces and allocations no message is lost", timeout=60)
def lifetimes(lab):
    server = Coturn(lab, "turn", "stale-nonce=2", "max-allocate-lifetime=4")
    one, other = (Client(h, server.uri()) for h in two(lab))
    chats = []
    for plain in ([], ["--plain"]):
        for here, there in ((one, other), (other, one)):
            listener = there.listen(*plain)
            lines = here.lines(listener.address, *plain)
            lines.put("hello")
            listener.p.expect(" hello$")
            chats.append(Chat(lines, listener, f"{here.host.name}{len(plain)}", step=0.1))
    time.sleep(7)
    count = [chat.finish() for chat in chats]
    stale, refreshed = server.logged("438"), server.logged("refreshed")
    check(stale >= 4 and refreshed >= 8, f"{stale} stale nonces, {refreshed} refreshed")
    lab.note(f"{sum(count)} messages, {stale} stale nonces, {refreshed} refreshed")


@lab_test("turn: loss, reordering, duplication: everything once and in order", timeout=150)
def bad_line(lab):
    server = Coturn(lab)
    bad, good = (Link(**keys, delay=10, rate="100m")
                 for keys in ({"loss": 10, "reorder": 10, "duplicate": 10}, {}))
    one, other = (Client(lab.site(name, nat=Nat(SYMMETRIC), link=link).host(name), server.uri())
                  for name, link in (("anna", bad), ("bert", good)))
    listener, back = other.listen(), one.listen()
    lines = one.lines(listener.address)
    lines.put("hello")
    listener.p.expect(" hello$", 30)
    chat, fast = (Chat(lines, listener, name, step) for name, step in (("one", 0), ("many", 0.01)))
    delays = sorted(chat.delay() for _ in range(50))
    path, digest = random_file(lab.t, file_bytes(lab) // 16)
    out, _ = other.send(back.address, path)
    back.has("data", digest)
    chat.finish()
    lab.note(f"a message took {1e3 * delays[25]:.0f} ms (median), {1e3 * delays[-1]:.0f} ms at "
             f"most; {fast.finish()} messages; a file with {rate_of(out)}")


@lab_test("turn: a server is killed and started again in mid transfer", timeout=90)
def restart(lab):
    servers = [Coturn(lab, name) for name in ("one", "two")]
    hosts = two(lab, link=Link(rate="50m"))
    one, other = (Client(h, s.uri()) for h, s in zip(hosts, servers, strict=True))
    listener = other.listen("--accept", servers[0].place.address())
    path, digest = random_file(lab.t, 10_000_000)
    sender = one.sender(listener.address, path)
    listener.await_part(2_000_000)
    began = time.monotonic()
    servers[0].restart()
    had = listener.part()
    await_true(lambda: listener.part() > had or not sender.running(), "the file goes on", 40)
    check(sender.running(), sender.log.text())
    lab.note(f"went on {time.monotonic() - began:.2f} s after the end")
    listener.has("data", digest)
    equal(sender.wait(20), 0, "exit code of turn send")


@lab_test("turn: the second server takes over when the first dies", timeout=90, alone=True)
def fail_over(lab):
    servers = [Coturn(lab, name, link=Link(delay=1)) for name in ("one", "two", "three")]
    hosts = two(lab, link=Link(rate="50m"))
    for how in ("killed", "unplugged"):
        one = Client(hosts[0], servers[0].uri(), servers[1].uri())
        other = Client(hosts[1], servers[2].uri())
        listener = other.listen(*(x for s in servers[:2] for x in ("--accept", s.place.address())))
        path, digest = random_file(lab.t, 10_000_000, how)
        moved, pauses = one.listen("--plain"), Pauses()
        sender = one.sender(listener.address, path)
        listener.await_part(2_000_000)
        began = time.monotonic()
        if how == "killed":
            servers[0].kill()
        else:
            servers[0].place.wire.cut()
        had = listener.part() + 200_000  # beyond what was on its way
        await_true(lambda had=had: listener.part() > had or not sender.running(),
                   "the file goes on", 20)
        check(sender.running(), sender.log.text())
        again = time.monotonic() - began
        moved.p.expect("^address: " + re.escape(servers[1].place.bracketed()))
        took, stood = time.monotonic() - began, pauses.total
        pauses.over.set()
        listener.has(how, digest)
        equal(sender.wait(20), 0, "exit code of turn send")
        check(took - stood < 3 * lab.slow, f"{how}: a new address after {took:.2f} s")
        lab.note(f"{how}: a new address after {took:.2f} s, the file went on after {again:.2f} s")
        for p in (listener, moved):
            p.stop()
        if how == "killed":
            servers[0].start()


@lab_test("turn: the server that both sides use dies, and the listener's alone", timeout=120,
          alone=True)
def fail_over_of_both(lab):
    servers = [Coturn(lab, name, link=Link(delay=1)) for name in ("one", "two", "three")]
    hosts = two(lab, link=Link(rate="50m"))
    shared = [s.uri() for s in servers[:2]]
    for what, senders, dies in (("both", shared, 0), ("listener", [servers[2].uri()], 0)):
        one, other = Client(hosts[0], *senders), Client(hosts[1], *shared)
        accept = servers[0 if what == "both" else 2].place.address()
        listener = other.listen("--accept", accept)
        path, digest = random_file(lab.t, 10_000_000, what)
        sender = one.sender(listener.address, path)
        listener.await_part(2_000_000)
        began = time.monotonic()
        servers[dies].kill()
        had = listener.part() + 200_000  # beyond what was on its way
        await_true(lambda had=had: listener.part() > had or not sender.running(),
                   "the file goes on", 20)
        check(sender.running(), sender.log.text())
        lab.note(f"{what}: the file went on after {time.monotonic() - began:.2f} s")
        listener.has(what, digest)
        equal(sender.wait(20), 0, "exit code of turn send")
        listener.stop()
        servers[dies].start()


@lab_test("turn: a NAT forgets in mid transfer", timeout=90)
def flushed(lab):
    server = Coturn(lab)
    hosts = two(lab, link=Link(rate="50m"))
    for leg in ("udp", "tcp"):
        one, other = (Client(h, server.uri(leg)) for h in hosts)
        listener = other.listen()
        path, digest = random_file(lab.t, 10_000_000, leg)
        sender = one.sender(listener.address, path)
        listener.await_part(2_000_000)
        began = time.monotonic()
        hosts[0].sites[0].flush()
        time.sleep(0.1)
        had = listener.part()
        await_true(lambda: listener.part() > had or not sender.running(), "the file goes on", 40)
        took = time.monotonic() - began
        check(sender.running(), sender.log.text())
        lab.note(f"{leg}: went on after {took:.2f} s")
        check(took < 3 * lab.slow, f"{leg}: {took:.2f} s without anything")
        listener.has(leg, digest)
        equal(sender.wait(20), 0, "exit code of turn send")
        listener.stop()


def of_secret(lab, secret, until):
    """A login by time-limited credentials as a web service gives them out."""
    user = f"{until}:anna"
    made = hmac.new(secret.encode(), user.encode(), "sha1").digest()
    password = lab.t.secret(f"password-{until}", base64.b64encode(made).decode())
    return ["--user", user, "--password-file", password]


@lab_test("turn: what goes wrong is told, and what to do", timeout=120)
def troubles(lab):
    host, other = two(lab)
    server = Coturn(lab, "turn", "denied-peer-ip=44.128.99.99", tls=True)
    web = Coturn(lab, "web", "use-auth-secret", "static-auth-secret=of the lab", user=None)
    no_relay = Coturn(lab, "tcponly", "no-udp-relay")
    four = Coturn(lab, "four", "user-quota=1", families=(4,))
    secret = lab.t.write("secret", "of the lab\n")
    wrong = ["--user", "alice", "--password-file", lab.t.secret("wrong", "wrong")]
    peer, faults = "44.128.98.98:1", []
    other.sites[0].wire.set({"block": "udp"})
    blocked = Client(other, server.uri())
    slow = blocked.sender(peer, "hello")

    def fails(what, client, words, *argv, verb="send"):
        code, out, err = client.run(verb, *argv)
        missing = [w for w in words if w not in err]
        if code != 1 or missing or PASSWORD in err:
            faults.append(f"{what}: exit code {code}, without {missing}: {err.strip()}{out}")

    to = ("--to", peer, "--plain", "hello")
    fails("wrong password", Client(host, server.uri(), login=wrong),
          ["does not accept user \"alice\"", "check"], *to)
    fails("expired", Client(host, web.uri(), login=of_secret(lab, "of the lab", 1700000000)),
          ["ran out", "2023-11-14", "clock"], *to)
    fails("another secret", Client(host, web.uri(), login=of_secret(lab, "other", 2000000000)),
          ["2000000000:anna"], *to)
    client = Client(host, web.uri(), login=["--user", "anna", "--secret-file", secret])
    client.listen().stop()
    client = Client(host, web.uri(), login=of_secret(lab, "of the lab", 2000000000))
    client.listen().stop()
    client = Client(host, four.uri())
    first = client.listen()
    fails("quota", client, ["user \"alice\"", "allocations"], *to)
    first.stop()
    four.p.expect("delete: realm=", 20)  # coturn takes its time for it
    client.listen().stop()
    four.p.expect("delete: realm=", 20)
    fails("no IPv6", client, ["IPv6"], "--family", "6", verb="listen")
    client = Client(host, server.uri(), ca=server.ca)
    fails("forbidden peer", client, ["44.128.99.99", "not"], "--to", "44.128.99.99:1", "hello")
    fails("no UDP relay", Client(host, no_relay.uri()), ["UDP"], *to)
    fails("wrong authority", Client(host, server.uri("tls")), ["certificate"], *to)
    host.sites[0].wire.set({"allow.tcp": "443", "blocked": "rst"})
    fails("TCP refused", Client(host, server.uri("tcp")), ["refused"], *to)
    slow.expect_log("does not answer.*try TCP or TLS", 30)
    equal(slow.wait(), 1, "exit code without UDP")
    Client(other, server.uri("tcp")).listen().stop()
    check(not faults, "\n".join(faults))


@lab_test("turn: a capture of a session of coturn's own client is decoded to the last attribute")
def decoded(lab):
    program = need("turnutils_uclient")
    server, host = Coturn(lab), two(lab)[0]
    file = lab.t.path("session.pcap")
    capture = capturing(host, file)
    host.ns.run(program, "-u", USER, "-w", PASSWORD, "-y", "-n", "3", "-m", "1", "-c",
                server.place.address())
    Client(host, server.uri()).listen().stop()
    capture.kill()
    events = [json.loads(line) for line in lab.t.adit(
        "turn", "decode", "-c", "/dev/null", "--json", "--password-file",
        lab.t.write("password", PASSWORD), file)[1].splitlines()]
    summary = events.pop()["summary"]
    check(all(e["clear"] and not e["problems"] for e in events), "something is unknown")
    check(summary["requests"] > 8 and summary["unclear"] == 0, summary)
    lab.note(f"{len(events)} packets, {summary['requests']} requests")


@lab_test("turn: probe sees each leg from behind a NAT, and where UDP is blocked", timeout=90)
def probed(lab):
    server, (host, other) = Coturn(lab, tls=True), two(lab)
    other.sites[0].wire.set({"block": "udp", "blocked": "icmp"})
    started = []
    for place, families in ((host, (4, 6)), (other, (4,))):
        uris = [server.uri("host", family) for family in families]
        started.append((families, Client(place, ca=server.ca).spawn(
            "probe", "--json", "--time", "200ms", *uris)))
    results = []
    for families, p in started:
        code = p.wait(60)
        result = json.loads(p.out.text() or "{}")
        equal((code, result.get("works")), (0, True), f"turn probe: {p.log.text()}")
        equal([(leg["transport"], leg["family"]) for leg in result["legs"]],
              [(x, f"IPv{y}") for y in families for x in ("udp", "tcp", "tls")], "the legs")
        results.append(result)
    for leg in results[0]["legs"]:
        refused = [name for name in ("reachable", "login", "relay_ipv4", "relay_ipv6", "channel")
                   if not leg[name]["yes"]]
        check(not refused, f"{leg['transport']} {leg['family']}: {refused}: {leg}")
        lab.note(f"{leg['transport']}/{leg['family']} {leg['rtt_ms']:.1f} ms, "
                 f"{leg['throughput']['mbit']:.0f} Mbit/s")
    for leg in results[1]["legs"]:
        equal(leg["reachable"]["yes"], leg["transport"] != "udp", f"reachable: {leg}")
    advice = results[1]["advice"]
    check(any("over TCP, but not over UDP" in text for text in advice), advice)


@lab_test("turn: soak: no message is lost in 25 minutes of the usual lifetimes", long=True,
          timeout=60 * SOAK_MINUTES + 120)
def soak(lab):
    server = Coturn(lab, "turn", "stale-nonce=600")
    hosts = two(lab)
    chats = []
    for plain in ([], ["--plain"]):  # ordered pipes would mend what plain ones lose
        for leg in ("udp", "tcp"):
            one, other = (Client(h, server.uri(leg), server.uri(leg)) for h in hosts)
            for here, there in ((one, other), (other, one)):
                listener = there.listen(*plain)
                lines = here.lines(listener.address, *plain)
                name = f"{leg}{'-plain' if plain else ''}-{here.host.name}"
                lines.put("hello")
                listener.p.expect(" hello$")
                chats.append(Chat(lines, listener, name))
    end = time.monotonic() + 60 * SOAK_MINUTES
    while time.monotonic() < end:
        time.sleep(1)
        for chat in chats:
            check(chat.fault is None, f"{chat.name}: {chat.fault}")
    faults = []
    for chat in chats:
        try:
            lab.note(f"{chat.name}: {chat.finish()} messages, none lost")
        except Failure as e:
            faults.append(str(e))
    check(not faults, "; ".join(faults))

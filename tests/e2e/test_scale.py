# SPDX-License-Identifier: MIT
"""Many streams, slow readers, memory. With the program as users get it, and alone."""

import re
import time

from harness import await_true, check, equal, test
from world import small_socket_buffers

KB = 1024


def settled(p, seconds=20):
    """Its RssAnon once it has stopped changing by more than 1 % in half a second."""
    last = p.rss_anon()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.5)
        now = p.rss_anon()
        if abs(now - last) <= last / 100:
            return now
        last = now
    return last


def measured(t):
    if t.sanitized:
        t.note("memory not judged: built with sanitizers")
    return not t.sanitized


@test("scale: an idle process has less than 5 MB of anonymous memory", plain=True)
def idle_process(t):
    e, g = t.pair()
    to = t.server()
    t.load("connect", 2, 0.2, to=to, via=g).result()
    sizes = {p.name: settled(p) / 1e6 for p in (e, g)}
    t.note(", ".join(f"{name} {mb:.2f} MB" for name, mb in sizes.items()))
    if measured(t):
        check(max(sizes.values()) < 5, "more than 5 MB")


@test("scale: 5,000 idle streams and 500 busy ones", timeout=180, alone=True, plain=True)
def many(t):
    idle, busy = (1000, 100) if t.sanitized else (5000, 500)
    e, g = t.pair()
    to = t.server()
    t.load("connect", 8, 0.3, to=to, via=g).result()
    before = {p: settled(p) for p in (e, g)}
    fds = {p: p.fds() for p in (e, g)}
    began = time.monotonic()
    held = t.load("idle", idle, to=to, via=g, name="idle", stdin=-1)
    held.expect("^ready", 60)
    opened = time.monotonic() - began
    each = {p.name: (settled(p) - before[p]) / idle for p in (e, g)}
    t.note(f"{idle} opened in {opened:.1f} s; an idle stream takes "
           + ", ".join(f"{x:.0f} bytes in the {name}" for name, x in each.items()))
    if measured(t):
        check(max(each.values()) < 4 * KB, "an idle stream takes more than 4 KiB")
    size = busy * (1 << 20)
    down = t.load("bulk", "down", size, busy, "--verify", to=to, via=g, name="down")
    up = t.load("bulk", "up", size, busy, "--verify", to=to, via=g, name="up")
    for p in (down, up):
        r = p.result(120)
        equal(r["bytes"], size, p.name)
        t.note(f"{busy} busy {p.name} {r['bytes'] / r['seconds'] / 1e6:.0f} MB/s")
    held.p.stdin.write(b"x")
    held.p.stdin.flush()
    held.expect("^proven", 60)
    held.p.stdin.close()
    held.result()
    for p in (e, g):
        await_true(lambda p=p: p.fds() <= fds[p] + 4, f"the {p.name}'s descriptors given back", 20)
    for p in (g, e):
        peers = p.status()
        check(not re.search(r'"streams": *[1-9]', str(peers).replace("'", '"')),
              f"the {p.name} still has streams: {peers}")


@test("scale: one stalled reader slows nobody else", timeout=120, alone=True, plain=True)
def one_stalled(t):
    e, g = t.pair()
    to = t.server()
    size = (50 if t.sanitized else 300) << 20

    def rate():
        r = t.load("bulk", "down", size, 1, to=to, via=g).result()
        return r["bytes"] / r["seconds"] / 1e6

    # A machine busy with others has good and bad seconds: the best of a few tries each, and only a
    # loss that no such second explains counts.
    without = max(rate() for _ in range(3))
    held = t.load("stall", 1, to=to, via=g, name="stalled", stdin=-1)
    held.expect("^ready")
    quiet(t, e, g)  # its windows and buffers are full
    beside = echo_us = 0
    for _ in range(6):
        beside = max(beside, rate())
        echo = t.load("echo", 1, 64, to=to, via=g, name="echo").result()
        echo_us = min(echo_us or echo["p50_us"], echo["p50_us"])
        if beside > without / 4 and echo_us < 20000 * t.slow:
            break
    t.note(f"{without:.0f} MB/s without, {beside:.0f} beside it; echo p50 {echo_us:.0f} us")
    check(held.running(), f"the stalled stream broke: {held.log.text()}")
    check(beside > without / 8, "much slower beside a stalled reader")
    check(echo_us < 20000 * t.slow, "the echo is slow")


def quiet(t, *procs):
    """Until these processes have nothing to do."""
    def idle():
        before = sum(p.cpu() for p in procs)
        time.sleep(0.5)
        return sum(p.cpu() for p in procs) - before < 0.01
    await_true(idle, "the processes at rest", 60 * t.slow)


def many_stalled(t, verb):
    memory = 64
    extra = 24  # MiB beyond session.memory: process, 500 streams' guarantees, path buffers
    ns = small_socket_buffers(t)
    options = [f"session.memory={memory}M"]
    e = t.exit(*options, ns=ns)
    g = t.gateway(e.ticket, *options, ns=ns)
    to = t.server(ns=ns)
    held = t.load(verb, 500, to=to, via=g, name="stalled", ns=ns, stdin=-1)
    held.expect("^ready", 60)
    quiet(t, e, g)
    sizes = {p: [p.rss_anon()] for p in (e, g)}
    down = t.load("bulk", "down", 100 << 20, 4, "--verify", to=to, via=g, ns=ns).result()
    echo = t.load("echo", 1, 64, to=to, via=g, name="echo", ns=ns).result()
    up = t.load("bulk", "up", 100 << 20, 4, "--verify", to=to, via=g, name="up", ns=ns).result()
    for p in (e, g):
        sizes[p].append(p.rss_anon())
    check(held.running(), f"the stalled streams broke: {held.log.text()}")
    t.note(", ".join(f"{p.name} {a / (1 << 20):.1f} MiB, {b / (1 << 20):.1f} after more traffic"
                     for p, (a, b) in sizes.items()) + f", session.memory = {memory}M")
    t.note(f"others: {down['bytes'] / down['seconds'] / 1e6:.0f} MB/s down, "
           f"{up['bytes'] / up['seconds'] / 1e6:.0f} up, echo p99 {echo['p99_us']:.0f} us")
    if measured(t):
        check(max(map(max, sizes.values())) < (memory + extra) << 20,
              f"more than {memory} + {extra} MiB")
    check(echo["p50_us"] < 50000 * t.slow, "the echo is slow")
    check(down["seconds"] < 30 * t.slow and up["seconds"] < 30 * t.slow, "the others are slow")


@test("scale: 500 stalled readers stay within session.memory", timeout=150, alone=True, plain=True)
def stalled_down(t):
    many_stalled(t, "stall")


@test("scale: 500 uploads that nobody reads stay within session.memory", timeout=150, alone=True,
      plain=True)
def stalled_up(t):
    many_stalled(t, "stall-up")


@test("scale: session.max_streams is refused honestly, and given back")
def max_streams(t):
    e, g = t.pair(exit_options=["exit.max_streams_per_peer=20"])
    to = t.server()
    held = t.load("idle", 20, to=to, via=g, name="idle", stdin=-1)
    held.expect("^ready")
    p = t.load("connect", 1, 0.1, to=to, via=g, name="over")
    equal(p.wait(20), 1, "one stream over the limit")
    check("the proxy answered" in p.log.text(), f"it was not refused, but: {p.log.text()}")
    held.p.stdin.close()
    held.result()

    def works():
        p = t.load("connect", 1, 0.1, to=to, via=g, name="again")
        return p.wait(20) == 0
    await_true(works, "streams after others ended", 10)

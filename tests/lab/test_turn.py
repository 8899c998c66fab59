# SPDX-License-Identifier: MIT
"""TURN: two clients behind NATs, and real servers that die, forget, refuse and expire."""

import re
import time

from harness import Failure, check, equal
from lab import Link, Nat, lab_test
from turn import Chat, Client, Coturn, random_file

SYMMETRIC = "apd/apd/random"
SOAK_MINUTES = 25


def two(lab, nat=SYMMETRIC, link=None):
    """Hosts at two sites."""
    return [lab.site(name, nat=Nat(nat) if nat else None, link=link).host(name)
            for name in ("anna", "bert")]


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
        rate = re.search(r"[\d.]+ [kM]B/s", out).group(0)
        lab.note(f"{here[0]}/IPv{here[1]} to {there[0]}/IPv{there[1]}"
                 + (", relayed by IPv6" if more else "") + f": {rate}")
        for p in (listener, back):
            p.stop()


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

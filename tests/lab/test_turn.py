# SPDX-License-Identifier: MIT
"""TURN: two clients behind NATs, and real servers that die, forget, refuse and expire."""

import time

from harness import Failure, check
from lab import Nat, lab_test
from turn import Chat, Client, Coturn

SYMMETRIC = "apd/apd/random"
SOAK_MINUTES = 25


def two(lab, nat=SYMMETRIC, link=None):
    """Hosts at two sites."""
    return [lab.site(name, nat=Nat(nat) if nat else None, link=link).host(name)
            for name in ("anna", "bert")]


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

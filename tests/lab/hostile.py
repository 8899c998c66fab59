# SPDX-License-Identifier: MIT
"""Somebody with an account at a broker who means harm: reads everything, repeats it, alters it,
floods, and forges what can be forged by one who knows IDs and has no node's key."""

import base64
import contextlib
import hashlib
import hmac
import os
import random
import socket
import struct
import subprocess
import threading

from harness import Failure, Skip, await_true, check
from world import within


def key_of(node):
    """The 32 bytes of an ID's text."""
    return base64.b32decode(node.upper() + "====")


def topic_of(node):
    digest = hashlib.sha256(b"adit topic v1" + key_of(node)).digest()
    return "adit/1/" + base64.b32encode(digest).decode().lower().rstrip("=")


def mend(node, seal):
    """The seal with the MAC that belongs to it: whoever knows the ID can make it."""
    key = hashlib.sha256(b"adit seal v1 mac" + key_of(node)).digest()
    return seal[:1] + hmac.new(key, seal[17:], "sha256").digest()[:16] + seal[17:]


class Enemy:
    """A client of a broker, from a place of its own, which listens to everything."""

    def __init__(self, lab, broker, name="enemy"):
        self.lab, self.place = lab, lab.place(name)
        self.records, self.closed = [], False  # [(topic, payload)]
        family = lab.family
        self.s = within(self.place.ns, lambda: socket.create_connection(
            (broker.place.address(family), broker.PORTS["mqtt"]), 10))
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.s.makefile("rb")
        self.lock = threading.Lock()
        self.send(0x10, b"\0\4MQTT\4\2\0\0" + self.text(f"enemy{os.getpid()}"))
        check(self.read() == (0x20, b"\0\0"), "the broker refuses the enemy")
        self.send(0x82, b"\0\1" + self.text("#") + b"\0")
        check(self.read()[0] == 0x90, "the broker lets nobody listen")
        threading.Thread(target=self.listen, daemon=True).start()
        # Where it would like nodes to connect to.
        self.trap = within(self.place.ns, lambda: socket.create_server(
            ("", 0), family=socket.AF_INET6 if family == 6 else socket.AF_INET))
        self.trap.settimeout(0)

    # -- MQTT 3.1.1, as much as is needed --

    @staticmethod
    def text(text):
        return struct.pack(">H", len(text)) + text.encode()

    @staticmethod
    def packet(kind, body):
        length, n = b"", len(body)
        while True:
            n, digit = divmod(n, 128)
            length += bytes([digit | (128 if n else 0)])
            if not n:
                return bytes([kind]) + length + body

    def send(self, kind, body):
        with self.lock:
            self.s.sendall(self.packet(kind, body))

    def read(self):
        kind = self.file.read(1)
        if not kind:
            raise EOFError
        length = shift = 0
        while True:
            digit = self.file.read(1)[0]
            length |= (digit & 127) << shift
            shift += 7
            if digit < 128:
                return kind[0], self.file.read(length)

    def listen(self):
        with contextlib.suppress(OSError, EOFError, IndexError, ValueError):
            while True:
                kind, body = self.read()
                if kind >> 4 == 3:
                    n = struct.unpack(">H", body[:2])[0]
                    self.records.append((body[2:2 + n].decode(), body[2 + n:]))
        self.closed = True

    def publish(self, topic, payload):
        self.send(0x30, self.text(topic) + payload)

    def publish_to(self, node, payload):
        self.publish(topic_of(node), payload)

    # -- what it does --

    def heard(self, node):
        """How many messages for this node it has."""
        return sum(topic == topic_of(node) for topic, _ in list(self.records))

    def replay(self, records, nodes):
        """Everything to whom it was meant for, then to the others."""
        for topic, payload in records:
            self.publish(topic, payload)
        for _, payload in records:
            for node in nodes:
                self.publish(topic_of(node), payload)

    def alter(self, records, nodes):
        """One bit of each, and the MAC made to fit."""
        by_topic = {topic_of(node): node for node in nodes}
        for topic, payload in records:
            if topic in by_topic and payload:
                bad = bytearray(payload)
                bad[random.randrange(len(bad))] ^= 1 << random.randrange(8)
                self.publish(topic, bytes(bad))
                if len(bad) > 57:
                    self.publish(topic, mend(by_topic[topic], bytes(bad)))

    def noise(self, nodes, count):
        for node in nodes:
            for _ in range(count):
                self.publish(topic_of(node), random.randbytes(random.choice(
                    (0, 1, 16, 255, 256, 257, 512, 2048, 2049, 5000))))

    def trap_text(self):
        address = self.place.bracketed()
        return f"{address}:{self.trap.getsockname()[1]}"

    def trapped(self):
        """Whether some node has connected."""
        try:
            self.trap.accept()
        except OSError:
            return False
        return True

    def knocks(self, kind, node, count, *more):
        """Seals by so many strangers (see knock.c): they are made before they are used."""
        program = os.path.join(os.path.dirname(self.lab.t.args.adit), "tests/lab/knock")
        if not os.access(program, os.X_OK):
            raise Skip(f"{program} is not built: make it")
        out = subprocess.run([program, kind, str(count), node, *more], check=True,
                             stdout=subprocess.PIPE).stdout
        seals, at = [], 0
        while at < len(out):
            n = struct.unpack_from(">H", out, at)[0]
            seals.append(out[at + 2:at + 2 + n])
            at += 2 + n
        if len(seals) != count:
            raise Failure(f"knock made {len(seals)} seals")
        return seals

    @contextlib.contextmanager
    def flood(self, node, seals, per_second):
        """These, again and again, while the block runs."""
        stop = threading.Event()
        sent = [0]

        def run():
            topic, i = topic_of(node), 0
            while not stop.wait(0.01):
                for _ in range(max(1, per_second // 100)):
                    self.publish(topic, seals[i % len(seals)])
                    i += 1
                    sent[0] = i
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield sent
        stop.set()
        thread.join(5)
        await_true(lambda: not thread.is_alive(), "the flood's end")

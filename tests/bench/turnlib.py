# SPDX-License-Identifier: MIT
"""As much of a TURN client as a benchmark needs: what it sets up is then used by others."""

import hashlib
import hmac
import os
import socket
import struct

from procs import Failure

COOKIE = 0x2112A442
ALLOCATE, PERMISSION, CHANNEL, CONNECT, BIND, ATTEMPT = 3, 8, 9, 10, 11, 28
USERNAME, PEER, DATA_ID, REALM, NONCE = 6, 0x12, 0x2A, 0x14, 0x15
RELAYED, TRANSPORT, NUMBER, ERROR, INTEGRITY = 0x16, 0x19, 0x0C, 9, 8
UDP, TCP = 17, 6


def address(at):
    """XOR-MAPPED-ADDRESS and its like, IPv4."""
    return struct.pack("!HHI", 1, at[1] ^ COOKIE >> 16,
                       struct.unpack("!I", socket.inet_aton(at[0]))[0] ^ COOKIE)


def read_address(value):
    _, port, ip = struct.unpack("!HHI", value[:8])
    return socket.inet_ntoa(struct.pack("!I", ip ^ COOKIE)), port ^ COOKIE >> 16


def attribute(kind, value):
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


class Control:
    """A socket to the server, and requests over it, one at a time."""

    def __init__(self, server, user, password, stream=False):
        self.stream, self.user, self.password = stream, user.encode(), password
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM if stream else
                                  socket.SOCK_DGRAM)
        self.sock.settimeout(10)
        self.sock.connect(server)
        self.realm = self.nonce = None

    def exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.sock.recv(count - len(data))
            if not more:
                raise Failure("the TURN server closed the connection")
            data += more
        return data

    def message(self):
        """The next one: its type, ID, attributes."""
        if self.stream:
            head = self.exactly(20)
            data = head + self.exactly(struct.unpack("!H", head[2:4])[0])
        else:
            data = self.sock.recv(65536)
        kind, length, _ = struct.unpack("!HHI", data[:8])
        found, at = {}, 20
        while at + 4 <= 20 + length:
            name, size = struct.unpack("!HH", data[at:at + 4])
            found.setdefault(name, data[at + 4:at + 4 + size])
            at += 4 + size + -size % 4
        return kind, data[8:20], found

    def request(self, method, *attributes):
        for _ in range(3):
            body, number = b"".join(attributes), os.urandom(12)
            if self.realm is not None:
                body += (attribute(USERNAME, self.user) + attribute(REALM, self.realm)
                         + attribute(NONCE, self.nonce))
                head = struct.pack("!HHI", method, len(body) + 24, COOKIE) + number
                key = hashlib.md5(self.user + b":" + self.realm + b":"
                                  + self.password.encode()).digest()
                body += attribute(INTEGRITY, hmac.new(key, head + body, "sha1").digest())
            head = struct.pack("!HHI", method, len(body), COOKIE) + number
            self.sock.sendall(head + body)
            while True:
                kind, answered, found = self.message()
                if answered == number:
                    break
            if not kind & 0x10:
                return found
            code = found[ERROR][2] * 100 + found[ERROR][3]
            if code not in (401, 438):
                raise Failure(f"the TURN server says {code} {found[ERROR][4:]!r}")
            self.realm, self.nonce = found[REALM], found[NONCE]
        raise Failure("the TURN server refuses the login")

    def allocate(self, transport):
        found = self.request(ALLOCATE, attribute(TRANSPORT, bytes((transport, 0, 0, 0))))
        return read_address(found[RELAYED])

    def permit(self, peer):
        self.request(PERMISSION, attribute(PEER, address(peer)))

    def bind(self, number, peer):
        self.request(CHANNEL, attribute(NUMBER, struct.pack("!HH", number, 0)),
                     attribute(PEER, address(peer)))

    def tcp_connect(self, peer):
        """RFC 6062: the number of a connection to the peer."""
        return self.request(CONNECT, attribute(PEER, address(peer)))[DATA_ID]

    def tcp_bind(self, number):
        """Makes this (fresh) connection the data's."""
        self.request(BIND, attribute(DATA_ID, number))

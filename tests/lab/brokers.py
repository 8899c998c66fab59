# SPDX-License-Identifier: MIT
"""Real MQTT brokers: mosquitto, each a process with an address of its own."""

import signal
import urllib.parse

from harness import need

CERTIFICATE = """
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
    -subj "/CN=lab broker" -addext "subjectAltName=IP:{ip4},IP:{ip6},DNS:{name}.lab" \
    -addext basicConstraints=critical,CA:true -keyout "$0" -out "$1"
"""


class Broker:
    """A mosquitto: MQTT on 1883, over WebSocket on 8080; with tls, over TLS on 8883 and over
    WebSocket and TLS on 8443, by the self-signed certificate `ca'. user: (name, password)."""

    PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 8080, "wss": 8443}

    def __init__(self, lab, place, tls=False, user=None, scheme=None, start=True):
        self.lab, self.t, self.place, self.user = lab, lab.t, place, user
        self.scheme = scheme or ("mqtts" if tls else "mqtt")
        self.program = need("mosquitto")
        t, name = lab.t, place.name
        lines = ["user root", "persistence false", "max_queued_messages 1000", "log_dest stderr",
                 "log_type all", "connection_messages true"]
        for kind, port in self.PORTS.items():
            if kind in ("mqtts", "wss") and not tls:
                continue
            lines.append(f"listener {port}")
            if "ws" in kind:
                lines.append("protocol websockets")
            if kind in ("mqtts", "wss"):
                lines += [f"certfile {t.path(name + '.crt')}", f"keyfile {t.path(name + '.key')}"]
        if user:
            users = t.write(f"{name}.users", "")
            t.run(need("mosquitto_passwd"), "-b", users, *user)
            lines += ["allow_anonymous false", f"password_file {users}"]
        else:
            lines.append("allow_anonymous true")
        self.ca = None
        if tls:
            self.ca = t.path(name + ".crt")
            t.run("sh", "-ec", CERTIFICATE.format(ip4=place.ip4, ip6=place.ip6, name=name),
                  t.path(name + ".key"), self.ca)
        self.conf = t.write(f"{name}.conf", "\n".join((*lines, "")))
        self.p = None
        if start:
            self.start()

    def start(self):
        self.p = self.t.spawn(self.place.name, self.program, "-c", self.conf, ns=self.place.ns)
        self.p.expect_log(r"mosquitto version \S+ running")

    def kill(self):
        self.p.kill()

    def restart(self):
        self.kill()
        self.start()

    def hang(self):
        """Connections stay and new ones are taken by the kernel; nothing is answered."""
        self.p.p.send_signal(signal.SIGSTOP)

    def wake(self):
        self.p.p.send_signal(signal.SIGCONT)

    def url(self, scheme=None, family=None, password=True):
        scheme = scheme or self.scheme
        user = ""
        if self.user and password:
            user = ":".join(urllib.parse.quote(x, safe="") for x in self.user) + "@"
        return f"{scheme}://{user}{self.place.bracketed(family)}:{self.PORTS[scheme]}"

    def options(self):
        """What an exit is told of it."""
        return [f"signal.broker={self.url()}", *self.trust()]

    def trust(self):
        """What a node with a ticket needs besides."""
        return [f"signal.ca_file={self.ca}"] if self.scheme in ("mqtts", "wss") else []

    def forget_log(self):
        """What it has logged so far is not awaited any more."""
        self.p.log.next = len(self.p.log.lines)

    def await_log(self, pattern, seconds=20):
        """A line of the broker's log, counted from the last one awaited."""
        return self.p.expect_log(pattern, seconds)

# SPDX-License-Identifier: MIT
"""Traffic for tests of what happens to connections while the network changes: every byte of it is
checked, and how long it was silent is told."""

import time

from harness import check


class Traffic:
    """Bulk transfers of `size` bytes and an interactive echo through the gateway g, from the
    namespace ns to the server `to`. marks: parts of the download at which await_mark() returns."""

    def __init__(self, t, to, g, ns, size, marks, ways=("down", "up")):
        self.t, self.to, self.g, self.ns, self.size = t, to, g, ns, size
        marks = [x for f in marks for x in ("--mark", int(size * f))]
        self.echo = self.start("echo", "echo", 3600, 64, "--pause", 2)
        self.bulk = [self.start(way, "bulk", way, size, 1, "--verify",
                                *(marks if way == ways[0] else ())) for way in ways]
        for p in (self.echo, *self.bulk):
            p.expect("^started", 20 * t.slow)

    def start(self, name, *argv):
        return self.t.load(*argv, to=self.to, via=self.g, ns=self.ns, name=name)

    def await_mark(self, seconds=60):
        self.bulk[0].expect("^mark", seconds * self.t.slow)

    def outage(self, seconds, off, on):
        """Something is away for so long."""
        off()
        time.sleep(seconds)
        on()

    def collect(self, seconds):
        """The longest silence of each in ms; raises when a byte was lost, repeated, changed."""
        results = {}
        for p in self.bulk:
            r = p.result(seconds * self.t.slow)
            check(r["complete"] and r["bytes"] == self.size,
                  f"{p.name}: {r['bytes']} bytes of {self.size}")
            results[p.name] = r["stall_ms"]
        check(self.echo.running(), f"the echo broke: {self.echo.log.text()}")
        self.echo.p.terminate()
        results["echo"] = self.echo.result(30)["max_us"] / 1e3
        return results

    def finish(self, seconds=90):
        """The same, and it is printed with the result."""
        results = self.collect(seconds)
        self.t.note("silent for at most "
                    + ", ".join(f"{k} {v:.0f} ms" for k, v in results.items()))
        return results

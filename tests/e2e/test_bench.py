# SPDX-License-Identifier: MIT
"""The benchmark itself: that it runs, and counts."""

import json
import os
import sys

from harness import check, equal, need, test


@test("bench: a short round, straight and through adit", timeout=90, alone=True, plain=True)
def bench(t):
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../bench/run")
    _, out, err = t.run(sys.executable, script, "--quick", "--json", "--adit", t.program,
                        "--targets", "raw,adit", seconds=80)
    found = json.loads(out)["targets"]
    equal(sorted(found), ["adit", "raw"], "targets")
    metrics = found["adit"]["metrics"]
    for name, values in metrics.items():
        check("error" not in values, f"{name}: {values}")
    check(0 < metrics["down-1"]["cpu"]["median"] < 100, f"CPU per gigabyte: {metrics['down-1']}")
    t.note(f"down {metrics['down-1']['rate']['median']:.0f} MB/s, "
           f"{metrics['down-1']['cpu']['median']:.2f} CPU-s/GB, "
           f"{metrics['connect-64']['rate']['median']:.0f} connections/s")


@test("bench: a short round through a TURN server", timeout=120, alone=True, plain=True)
def bench_turn(t):
    need("turnserver", "openssl")
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../bench/turn")
    _, out, err = t.run(sys.executable, script, "--quick", "--json", "--adit", t.program,
                        seconds=110)
    said = json.loads(out)
    found = said["targets"]
    for name in ("adit-udp", "adit-udp-single", "adit-tcp", "adit-tls", "blast", "tcp-relay"):
        check(name in found, f"{name}: {said['skipped'].get(name)}")
        check(found[name]["rate"]["median"] > 0 < found[name]["coturn"]["median"],
              f"{name}: {found[name]}")
    check(0 < found["adit-udp"]["sender"]["median"] < 1000, "the sender's CPU per gigabyte")
    t.note(", ".join(f"{name} {values['rate']['median']:.0f} MB/s"
                     for name, values in found.items()))

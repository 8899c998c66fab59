# SPDX-License-Identifier: MIT
"""Processes of the benchmarks: started so that they end with the script, and what they use."""

import ctypes
import os
import signal
import subprocess
import sys
import time

TICK = os.sysconf("SC_CLK_TCK")


class Failure(Exception):
    pass


def say(text):
    print(text, file=sys.stderr, flush=True)


# ---- processes -----------------------------------------------------------------------------------

children = []


def die_with_parent():
    """In the child: end when the script does, however it does (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def start(argv, ns=None, **kw):
    if ns:
        argv = ["ip", "netns", "exec", ns] + argv
    kw.setdefault("stdin", subprocess.DEVNULL)
    p = subprocess.Popen(argv, preexec_fn=die_with_parent, **kw)
    children.append(p)
    return p


def stop_all():
    for p in reversed(children):
        if p.poll() is None:
            p.terminate()
    for p in children:
        try:
            p.wait(3)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()
    children.clear()


def run(*argv, **kw):
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, **kw)


def await_port(address, port, ns=None, seconds=10):
    """Until something accepts there (asked from inside the namespace)."""
    code = ("import socket,sys\n"
            "try: socket.create_connection((sys.argv[1], int(sys.argv[2])), 1)\n"
            "except OSError: sys.exit(1)\n")
    argv = (["ip", "netns", "exec", ns] if ns else []) + [sys.executable, "-S", "-c", code,
                                                         address, str(port)]
    end = time.monotonic() + seconds
    while subprocess.run(argv).returncode != 0:
        if time.monotonic() > end:
            raise Failure(f"nothing listens on {address}:{port}")
        time.sleep(0.05)


def tree(pids):
    """These processes and all that descend from them."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as f:
                    parents[int(name)] = int(f.read().rsplit(")", 1)[1].split()[1])
            except OSError:
                pass
    found = set(pids)
    while True:
        more = {p for p, parent in parents.items() if parent in found} - found
        if not more:
            return found
        found |= more


def cpu_seconds(pids):
    """user+sys of the processes: to the nanosecond from their CPU clocks, and what their reaped
    children had used from /proc/PID/stat."""
    total = 0.0
    for pid in tree(pids):
        try:
            with open(f"/proc/{pid}/stat") as f:
                fields = f.read().rsplit(")", 1)[1].split()
            total += (int(fields[13]) + int(fields[14])) / TICK
            try:
                total += time.clock_gettime((~pid << 3) | 2)
            except OSError:
                total += (int(fields[11]) + int(fields[12])) / TICK
        except (OSError, IndexError):
            pass
    return total

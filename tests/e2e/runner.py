# SPDX-License-Identifier: MIT
"""Runs the tests of a directory (tests/e2e, tests/lab): each in a process of its own, under its own
time limit. A test prints one line; a failed one is followed by its reason and the ends of its logs.
"""

import argparse
import glob
import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

import harness

HERE = os.path.dirname(os.path.abspath(__file__))


class TimeUp(BaseException):
    pass


def time_limit(test, args):
    """Seconds: sanitizers and gigabytes take longer."""
    sanitized = args.sanitized[args.plain_adit if test.plain else args.adit]
    return test.timeout * (3 if sanitized else 1) * (3 if args.long else 1)


def in_child(test, args, directory, load_tool, out_path):
    """Runs one test; writes its verdict to out_path. Does not return."""
    def on_alarm(*_):
        raise TimeUp
    signal.signal(signal.SIGALRM, on_alarm)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    program = args.plain_adit if test.plain else args.adit
    sanitized = args.sanitized[program]
    t = harness.T(program, directory, load_tool, sanitized, args)
    limit = time_limit(test, args)
    verdict, text = "ok", []
    signal.alarm(int(limit))
    try:
        test.function(t)
    except harness.Skip as e:
        verdict, text = "skip", [str(e)]
    except TimeUp:
        where = traceback.format_exc().splitlines()
        verdict, text = "fail", [f"not done within {limit} s"] + where[-12:]
    except harness.Failure as e:
        where = [f for f in traceback.extract_tb(e.__traceback__) if "/test_" in f.filename]
        at = [f"(line {f.lineno} of {os.path.basename(f.filename)})" for f in where[-1:]]
        verdict, text = "fail", " ".join([str(e)] + at).splitlines()
    except BaseException:
        verdict, text = "fail", traceback.format_exc().splitlines()
    signal.alarm(60)
    try:
        faults = t.finish()
    except BaseException:
        faults = ["while stopping: " + traceback.format_exc()]
    if faults:
        verdict = "fail"
        text += [line for f in faults for line in f.splitlines()]
    if verdict == "fail":
        text += t.logs()
    with open(out_path, "w") as f:
        f.write(verdict + "\n" + "; ".join(t.notes) + "\n" + "\n".join(text))
    os._exit(0)


class Runner:
    def __init__(self, args, tests):
        self.args, self.waiting = args, list(tests)
        self.work = tempfile.mkdtemp(prefix=f"adit-{args.suite}-")
        self.load_tool = f"{self.work}/load"
        subprocess.run([os.environ.get("CC", "cc"), "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-o",
                        self.load_tool,
                        *(f"{HERE}/../bench/{name}.c" for name in ("load", "load_move",
                                                                   "load_server"))], check=True)
        self.running = {}
        self.counts = {"ok": 0, "fail": 0, "skip": 0}
        self.number = 0

    def start(self, test):
        self.number += 1
        directory = f"{self.work}/{self.number}"
        os.makedirs(directory)
        out = directory + ".verdict"
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            try:
                os.setpgid(0, 0)
                in_child(test, self.args, directory, self.load_tool, out)
            finally:
                os._exit(1)
        limit = time.monotonic() + time_limit(test, self.args) + 70
        self.running[pid] = (test, self.number, time.monotonic(), limit, out, directory)

    def ended(self, pid):
        test, number, began, _, out, directory = self.running.pop(pid)
        try:
            with open(out) as f:
                verdict, notes, *text = f.read().split("\n")
        except (OSError, ValueError):
            verdict, notes, text = "fail", "", ["the test's process died"]
        remove_namespaces(f"{self.args.namespaces}{pid}")
        self.counts[verdict] += 1
        seconds = f"{time.monotonic() - began:.1f} s"
        if verdict == "skip":
            print(f"ok {number} - {test.name} # SKIP {' '.join(text)}")
        else:
            print(f"{'ok' if verdict == 'ok' else 'not ok'} {number} - {test.name} ({seconds})"
                  + (f": {notes}" if notes else ""))
        if verdict == "fail":
            for line in text:
                print("#     " + line)
        if verdict != "fail" and not self.args.keep:
            shutil.rmtree(directory, True)
        sys.stdout.flush()

    def reap(self):
        while self.running:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if pid in self.running:
                return self.ended(pid)
            now = time.monotonic()
            for child, (_, _, _, limit, _, _) in self.running.items():
                if now > limit:  # its own limit did not help
                    os.killpg(child, signal.SIGKILL)
            time.sleep(0.01)
        return None

    def run(self):
        while self.waiting or self.running:
            if self.waiting:
                test = self.waiting[0]
                alone = test.alone or any(r[0].alone for r in self.running.values())
                if len(self.running) < (1 if alone else self.args.jobs):
                    self.start(self.waiting.pop(0))
                    continue
            self.reap()
        if self.counts["fail"] == 0 and not self.args.keep:
            shutil.rmtree(self.work, True)
        else:
            print(f"# logs are in {self.work}")
        print("{ok} passed, {fail} failed, {skip} skipped".format(**self.counts))
        return 1 if self.counts["fail"] else 0

    def stop(self):
        for pid in self.running:
            os.killpg(pid, signal.SIGKILL)


def remove_namespaces(prefix):
    for ns in glob.glob(f"/run/netns/{prefix}*"):
        if re.fullmatch(re.escape(prefix) + r"\D.*", os.path.basename(ns)):
            subprocess.run(["ip", "netns", "del", os.path.basename(ns)], stderr=subprocess.DEVNULL)


def sweep_namespaces(prefix):
    """Removes those of earlier runs that were killed: the number is that of a process."""
    for ns in glob.glob(f"/run/netns/{prefix}*"):
        found = re.match(re.escape(prefix) + r"(\d+)\D", os.path.basename(ns))
        if found and not os.path.exists(f"/proc/{found.group(1)}"):
            remove_namespaces(prefix + found.group(1))


def is_sanitized(program):
    with open(program, "rb") as f:
        return b"__asan_init" in f.read()


def main(description, directory, namespaces, add_arguments=None):
    """Runs the tests of directory/test_*.py; namespaces begins the names of those they make;
    add_arguments(parser) adds what the tests find in T.args. Returns the exit status."""
    a = argparse.ArgumentParser(description=description,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--adit", default="./adit", help="the program (default: %(default)s)")
    a.add_argument("--plain-adit", metavar="PATH",
                   help="for what is measured, if --adit is built with sanitizers")
    a.add_argument("--long", action="store_true", help="gigabytes instead of megabytes")
    a.add_argument("--only", metavar="TEXT", action="append",
                   help="tests with TEXT in their names (repeatable)")
    a.add_argument("--list", action="store_true", help="name the tests")
    a.add_argument("--keep", action="store_true", help="keep all logs")
    a.add_argument("--log", metavar="LEVEL", help="how much the nodes log, as of node.log")
    a.add_argument("-j", "--jobs", type=int, default=2, help="tests at once (default: %(default)s)")
    if add_arguments:
        add_arguments(a)
    args = a.parse_args()
    args.namespaces, args.suite = namespaces, os.path.basename(directory)

    for path in sorted(glob.glob(f"{directory}/test_*.py")):
        importlib.import_module(os.path.basename(path)[:-3])
    tests = [t for t in harness.TESTS
             if (args.long or not t.long) and
             (not args.only or any(word in t.name for word in args.only))]
    if args.list:
        print("\n".join(t.name for t in tests))
        return 0
    if not tests:
        sys.exit("run: no test has such a name")
    args.adit = os.path.abspath(args.adit)
    args.plain_adit = os.path.abspath(args.plain_adit or args.adit)
    args.sanitized = {}
    for program in (args.adit, args.plain_adit):
        if not os.access(program, os.X_OK):
            sys.exit(f"run: {program} is not a program: build adit, or give --adit PATH")
        args.sanitized[program] = is_sanitized(program)
    # the tests' programs see no proxy and no configuration of the user's
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("XDG_", "GIT_")):
            del os.environ[name]
    os.environ["LC_ALL"] = "C.UTF-8"
    os.environ.setdefault("ASAN_OPTIONS", "detect_leaks=1")
    for name in ("CONFIG", "STATE", "RUNTIME"):
        os.environ[f"XDG_{name}_HOME" if name != "RUNTIME" else "XDG_RUNTIME_DIR"] = "/nonexistent"
    sweep_namespaces(namespaces)
    runner = Runner(args, sorted(tests, key=lambda t: t.alone))
    try:
        return runner.run()
    except KeyboardInterrupt:
        runner.stop()
        return 130

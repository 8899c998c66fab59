# SPDX-License-Identifier: MIT
"""A hostile client of the broker: what it repeats, alters, forges and floods makes no node connect
anywhere, ends nothing, and slows nobody noticeably."""

import glob
import time

from harness import await_true, check, equal
from hostile import Enemy
from lab import LOOPBACK, Link, Nat, lab_test, paths
from test_nat import PAGE

HARD = "apd/apd/random"


def page(lab, gateway):
    equal(gateway.host.fetch(gateway, lab.web.url("/hello")), PAGE, "a page through the exit")


def signalling(node):
    return node.status()["signalling"]


def id_of(node):
    return node.status()["node"]["id"]


def cpu(node):
    """Seconds of the node and of the processes that it keeps for brokers."""
    total = node.cpu()
    for path in glob.glob(f"/proc/{node.pid}/task/*/children"):
        for child in open(path).read().split():
            total += time.clock_gettime((~int(child) << 3) | 2)
    return total


def world(lab):
    """An exit that only signalling can reach, a gateway, and the enemy, who has heard all of it."""
    broker = lab.broker()
    enemy = Enemy(lab, broker)
    site = lab.site("exit", nat=Nat(HARD), link=Link(delay=5))
    exit = site.host("e").exit(brokers=[broker], allow=LOOPBACK)
    g = lab.site("gateway").host("g")
    gateway = g.gateway(exit)
    page(lab, gateway)
    return enemy, site, exit, gateway


@lab_test("hostile: what is repeated, altered or forged makes nobody act", families=(4,),
          signalling=True, timeout=120)
def repeats(lab):
    enemy, _, exit, gateway = world(lab)
    first = list(enemy.records)
    check(enemy.heard(exit.id) >= 2, "the enemy has not heard a question and a request")
    # Another run of the gateway: what the first one said is of a former instance then.
    gateway.stop()
    gateway = gateway.host.gateway(None, state=gateway.state)
    page(lab, gateway)
    nodes = [exit.id, id_of(gateway)]
    echo = lab.t.held(lab.load_server, via=gateway, ns=gateway.ns, pause=2, name="echo")
    time.sleep(1)  # the last repeats of honest nodes are under way
    records = list(enemy.records)
    before = [signalling(n) for n in (exit, gateway)]
    live = [len(paths(n)) for n in (exit, gateway)]

    forged = [(node, seal) for node in nodes for kind in ("dial", "pong", "ping")
              for seal in enemy.knocks(kind, node, 20, enemy.trap_text())]
    for _ in range(3):
        enemy.replay(records, nodes)
        enemy.replay(first[::-1], nodes)
        enemy.alter(records * 5, nodes)
        enemy.noise(nodes, 50)
        for node, seal in forged:
            enemy.publish_to(node, seal)
        time.sleep(2)  # and again when limits have forgotten

    after = [signalling(n) for n in (exit, gateway)]
    for name, old, new in zip(("exit", "gateway"), before, after):
        equal(new["dialled"], old["dialled"], f"requests that the {name} followed")
        dropped = {k: new[k] - old[k] for k in ("stale", "forged", "foreign", "limited")}
        lab.note(f"the {name} got {new['received'] - old['received']}: {dropped}")
        check(dropped["stale"] + dropped["forged"] > 50 and dropped["foreign"] > 50,
              f"the {name} has dropped little: {dropped}")
    check(not enemy.trapped(), "a node has connected to the enemy")
    equal([len(paths(n)) for n in (exit, gateway)], live, "the numbers of paths")
    check(not enemy.closed, "the broker has thrown the enemy out")
    check(echo.running(), "the echo broke")
    echo.p.terminate()
    lab.note(f"echo at most {echo.result(30)['max_us'] / 1e3:.0f} ms")
    page(lab, gateway)


@lab_test("hostile: 10,000 strangers knock at an exit", families=(4,), signalling=True, plain=True,
          alone=True, timeout=180)
def knocks(lab):
    count = 10000
    enemy, _, exit, gateway = world(lab)
    seals = enemy.knocks("ping", exit.id, count)

    def echo(during):
        p = lab.t.held(lab.load_server, via=gateway, ns=gateway.ns, pause=1, name="echo")
        began = time.monotonic()
        during()
        time.sleep(max(0, 3 - (time.monotonic() - began)))
        p.p.terminate()
        return p.result(30)

    def knock():
        for seal in seals:
            enemy.publish_to(exit.id, seal)
        settle = [0, -1]
        while settle[-1] != settle[-2]:
            time.sleep(0.5)
            settle.append(signalling(exit)["received"])

    quiet = echo(lambda: time.sleep(3))
    idle = cpu(exit)
    time.sleep(3)
    idle = (cpu(exit) - idle) / 3
    before, used, began = signalling(exit), cpu(exit), time.monotonic()
    loud = echo(knock)
    seconds = time.monotonic() - began
    used = cpu(exit) - used - idle * seconds
    after = signalling(exit)
    got, looked = (after[k] - before[k] for k in ("received", "opened"))
    lab.note(f"of {count} the exit got {got} in {seconds:.1f} s and looked into {looked}, answered "
             f"{after['refused'] - before['refused']}, for {used:.2f} s of CPU with its echo's "
             "traffic; echo in ms, quiet and loud: " + ", ".join(
                 f"{name} {quiet[key] / 1e3:.1f} and {loud[key] / 1e3:.1f}" for name, key in
                 (("median", "p50_us"), ("99 %", "p99_us"), ("at most", "max_us"))))
    check(used < 2 * lab.slow, f"{used:.1f} s of CPU")
    check(got > count / 2, f"only {got} came")
    check(looked <= 100 + 50 * (seconds + 2), f"looked into {looked}")
    # The median: the tail is the machine's, which others use too.
    check(loud["p50_us"] < quiet["p50_us"] + 10e3, "the echo is much slower")
    page(lab, gateway)


@lab_test("hostile: a known gateway is heard through a flood", families=(4,), signalling=True,
          plain=True, alone=True, timeout=120)
def flood(lab):
    enemy, site, exit, gateway = world(lab)
    m = lab.measure(gateway, to=exit.host)
    m.await_mark()
    junk = enemy.knocks("junk", exit.id, 2000)
    before = signalling(exit)
    with enemy.flood(exit.id, junk, 500):
        await_true(lambda: signalling(exit)["limited"] > before["limited"] + 200, "the flood")
        # The exit cannot be reached, and where the gateway is now it learns by the broker only.
        m.outage(0, gateway.host.renumber, lambda: None)
        m.finish(within=8)
    after = signalling(exit)
    lab.note(f"of {after['received'] - before['received']} that came "
             f"{after['limited'] - before['limited']} were dropped unread")

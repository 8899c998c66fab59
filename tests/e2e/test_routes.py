# SPDX-License-Identifier: MIT
"""Several exits at once, chosen by routes."""

import signal

from harness import await_true, check, equal, http_connect, read_to_end, socks5, test
from world import Dns, Web


def fetch(g, host, port):
    """The body of an HTTP answer through the gateway, or the SOCKS reply that refused it."""
    reply, s = socks5(g.socks, host, port)
    with s:
        if reply != 0:
            return reply
        s.sendall(b"GET /who HTTP/1.0\r\nHost: x\r\n\r\n")
        return read_to_end(s).split(b"\r\n\r\n", 1)[1].decode()


def opened(exit_node):
    return exit_node.status()["exit"]["opened"]


def peer_of(node, other):
    return next((p for p in node.status()["peers"] if p["id"] == other.id), None)


def two_exits(t):
    t.write("who", "it")
    web = Web(t)
    dns = Dns(t, {"a.adit.test": ["127.0.0.1"], "www.corp.adit.test": ["127.0.0.1"],
                  "here.adit.test": ["127.0.0.1"]})
    more = [f"exit.resolver={dns.address}", "path.dial_retry=50ms"]
    one, two = t.exit(*more, name="one"), t.exit(*more, name="two")
    return web, dns, one, two


def routed(t, name, one, two, routes, dns):
    conf = t.path(name + ".conf")

    def write(lines):
        with open(conf, "w") as f:
            f.write("[gateway]\nlisten = 127.0.0.1:0\nexit = one\n"
                    + "".join(f"route = {x}\n" for x in lines)
                    + "[path]\nlisten = 127.0.0.1:0\ndial_retry = 50ms\n"
                    + f"[peer one]\nticket = {tickets[0]}\n[peer two]\nticket = {tickets[1]}\n")
    tickets = [open(t.ticket(node)).read().strip() for node in (one, two)]
    write(routes)
    state = t.path(name)
    g = t.spawn_node("gateway", "-c", conf, "--state", state, "-o", f"node.control={state}.sock",
                     "-o", f"exit.resolver={dns.address}", state=state, name=name)
    g.socks = t.ready(g)
    g.rewrite = write
    return g


@test("routes: two gateways use two exits at once; revoking one session leaves the other",
      timeout=90)
def both(t):
    web, dns, one, two = two_exits(t)
    routes = ["*.corp.adit.test -> two", "::1 -> two", f"here.adit.test:{web.port} -> direct",
              "*:9 -> block", "blocked.adit.test -> block"]
    gateways = [routed(t, f"g{i}", one, two, routes, dns) for i in range(2)]
    served = []
    for g in gateways:
        for exit_node in (one, two):
            await_true(lambda e=exit_node: peer_of(g, e)["state"] == "connected", "a path", 20)
        before = opened(one), opened(two)
        equal(fetch(g, "a.adit.test", web.port), "it", "by the exit")
        equal((opened(one), opened(two)), (before[0] + 1, before[1]), "opened by the first")
        equal(fetch(g, "www.corp.adit.test", web.port), "it", "by a route")
        equal((opened(one), opened(two)), (before[0] + 1, before[1] + 1), "opened by the second")
        if web.six:
            equal(fetch(g, "::1", web.port), "it", "by a route for a network")
            equal(opened(two), before[1] + 2, "opened by the second")
        before = opened(one), opened(two)
        equal(fetch(g, "here.adit.test", web.port), "it", "directly")
        equal(fetch(g, "127.0.0.1", 9), 2, "SOCKS reply of what is blocked")
        equal(fetch(g, "blocked.adit.test", web.port), 2, "SOCKS reply of what is blocked")
        status, head, s = http_connect(g.socks, "blocked.adit.test", web.port)
        equal(status, 403, "HTTP status of what is blocked")
        check(b"gateway.route" in read_to_end(s), "the page says what to do")
        equal((opened(one), opened(two)), before, "exits have nothing to do with that")
        status = g.status()["gateway"]
        equal([r["to"] for r in status["routes"]], ["two", "two", "direct", "block", "block"],
              "routes in the status")
        equal(status["routes"][0]["peer_id"], two.id, "the peer of a route")
        equal([r["streams"] for r in status["routes"]], [1, int(web.six), 1, 1, 2], "their streams")
        code, text, _ = t.adit("status", *g.where())
        check("*.corp.adit.test -> two" in text, text)
    # streams that live through what follows
    g = gateways[0]
    to = t.server()
    for host in ("127.0.0.1", "www.corp.adit.test"):
        reply, s = socks5(g.socks, host, int(to.rsplit(":", 1)[1]))
        equal(reply, 0, "SOCKS reply")
        served.append(s)
    code, out, _ = t.adit("key", "--state", g.state)
    me = out.split()[0]
    code, _, err = t.adit("peers", "revoke", me, *two.where())
    equal(code, 0, err)
    served[1].settimeout(1)
    try:
        equal(served[1].recv(1), b"", "the stream by the revoked session")
    except ConnectionResetError:
        pass
    check(fetch(g, "www.corp.adit.test", web.port) != "it", "a revoked gateway is let out")
    equal(fetch(g, "a.adit.test", web.port), "it", "by the other exit")
    equal(fetch(gateways[1], "www.corp.adit.test", web.port), "it", "for the other gateway")
    await_true(lambda: "revoked" in peer_of(g, two)["problem"], "the reason in the status", 10)
    check(peer_of(g, one)["state"] == "connected", "the other session")


@test("routes: a reload changes them, and streams stay where they are", timeout=60)
def reload(t):
    web, dns, one, two = two_exits(t)
    g = routed(t, "g", one, two, ["*.corp.adit.test -> two"], dns)
    await_true(lambda: peer_of(g, two)["state"] == "connected", "a path", 20)
    equal(fetch(g, "www.corp.adit.test", web.port), "it", "by the second")
    equal(opened(two), 1, "opened by the second")
    reply, s = socks5(g.socks, "www.corp.adit.test", web.port)
    equal(reply, 0, "SOCKS reply")
    g.rewrite(["*.corp.adit.test -> nobody"])
    g.p.send_signal(signal.SIGHUP)
    g.expect_log(r"nobody")
    equal(fetch(g, "www.corp.adit.test", web.port), "it", "still by the second")
    g.rewrite(["*.corp.adit.test -> one"])
    g.p.send_signal(signal.SIGHUP)
    await_true(lambda: g.status()["gateway"]["routes"][0]["to"] == "one", "the new route", 10)
    before = opened(one)
    equal(fetch(g, "www.corp.adit.test", web.port), "it", "by the first")
    equal(opened(one), before + 1, "opened by the first")
    with s:
        s.sendall(b"GET /who HTTP/1.0\r\n\r\n")
        equal(read_to_end(s)[-2:], b"it", "the stream of before the reload")

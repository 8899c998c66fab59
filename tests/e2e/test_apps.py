# SPDX-License-Identifier: MIT
"""Applications as people use them, through the gateway."""

import os
import re
import ssl

from harness import (Skip, check, equal, free_port, http_connect, need, read_to_end, sha256_file,
                     socks5, test)
from world import Dns, Sshd, Web

NAMES = {"web.adit.test": ["127.0.0.1"], "web6.adit.test": ["::1"],
         "both.adit.test": ["::1", "127.0.0.1"]}
NOPROXY = ["--noproxy", ""]


def world(t, **names):
    """A web server, names that only the exit can resolve, an exit, a gateway."""
    dns = Dns(t, {**NAMES, **names})
    os.makedirs(t.path("www"))
    t.write("www/hello", "hello from the web server\n")
    web = Web(t, t.path("www"))
    e, g = t.pair(exit_options=[f"exit.resolver={dns.address}"])
    return web, dns, e, g


def curl(t, g, url, *options, proxy):
    return t.run(need("curl"), "-q", "-sS", "-m", "20", *NOPROXY, "-x", f"{proxy}://{g.proxy}",
                 *options, url)[1]


@test("apps: curl by SOCKS 4, 4a, 5 and HTTP, to IPv4, IPv6 and names")
def curl_everything(t):
    web, dns, _, g = world(t)
    hello = b"hello from the web server\n"
    hosts = {"socks5h": ["127.0.0.1", "[::1]", "web.adit.test", "web6.adit.test", "both.adit.test"],
             "socks5": ["127.0.0.1", "[::1]"],
             "socks4": ["127.0.0.1"],
             "socks4a": ["127.0.0.1", "web.adit.test"],
             "http": ["127.0.0.1", "[::1]", "web.adit.test", "web6.adit.test"]}
    fetched = 0
    for proxy, names in hosts.items():
        for host in names:
            if host in ("[::1]", "web6.adit.test") and not web.six:
                continue
            url = f"http://{host}:{web.port}/hello"
            equal(curl(t, g, url, proxy=proxy), hello, f"{proxy} to {host}")
            fetched += 1
            if proxy == "http":
                equal(curl(t, g, url, "-p", proxy=proxy), hello, f"CONNECT to {host}")
                fetched += 1
    check(dns.asked["web.adit.test", 1] > 0, "the exit did not ask its resolver")
    t.note(f"{fetched} fetches")


@test("apps: curl with https and HTTP/1.1 keep-alive through plain and CONNECT proxying")
def curl_https(t):
    web, _, _, g = world(t)
    t.run(need("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt",
          "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", t.path("key"), "-out",
          t.path("cert"), "-days", "2", "-subj", "/CN=web.adit.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(t.path("cert"), t.path("key"))
    secure = Web(t, t.path("www"), tls=context)
    for proxy in ("socks5h", "http"):
        equal(curl(t, g, f"https://web.adit.test:{secure.port}/hello", "-k", proxy=proxy),
              b"hello from the web server\n", f"https by {proxy}")
    # several requests, to two origins, over one connection to the proxy
    urls = [f"http://web.adit.test:{web.port}/hello", f"http://127.0.0.1:{web.port}/hello"] * 3
    _, out, err = t.run(need("curl"), "-q", "-v", "-s", "-m", "20", *NOPROXY, "-x",
                        f"http://{g.proxy}", *urls)
    equal(out, b"hello from the web server\n" * 6, "six requests")
    t.note(f"keep-alive: {len(re.findall('Re-using existing connection', err))} of 5 re-used")
    # a body upwards, with a length and chunked
    t.write("body", os.urandom(300000))
    for more in ([], ["-H", "Transfer-Encoding: chunked"]):
        equal(curl(t, g, f"http://web.adit.test:{web.port}/", "-T", t.path("body"), *more,
                   proxy="http").decode(), sha256_file(t.path("body")), "PUT")


@test("apps: Chromium by socks5://, http:// and the PAC file", timeout=120)
def chromium(t):
    browser = need("chromium")
    web, _, _, g = world(t)
    t.write("www/page.html", """<!doctype html><title>x</title><p id=a>no script</p>
<script>fetch('/hello').then(r => r.text()).then(s => {
    document.getElementById('a').textContent = 'fetched: ' + s.trim(); })</script>""")
    url = f"http://web.adit.test:{web.port}/page.html"
    for i, option in enumerate((f"--proxy-server=socks5://{g.proxy}",
                                f"--proxy-server=http://{g.proxy}",
                                f"--proxy-pac-url=http://{g.proxy}/proxy.pac")):
        _, out, err = t.run(browser, "--headless", "--no-sandbox", "--disable-gpu",
                            "--disable-quic", "--no-first-run", "--disable-background-networking",
                            "--disable-component-update", "--disable-sync",
                            f"--user-data-dir={t.path('profile%d' % i)}", option, "--timeout=20000",
                            "--virtual-time-budget=10000", "--dump-dom", url, seconds=60)
        check(b"fetched: hello from the web server" in out,
              f"{option}: the page was {out[-500:]!r}\n{err[-1500:]}")


@test("apps: ssh with a ProxyCommand")
def ssh(t):
    nc = need("nc")
    if "-X proxy_protocol" not in t.run(nc, "-h", ok=False)[2]:
        raise Skip("this nc has no -X; install netcat-openbsd")
    port = free_port()
    sshd = Sshd(t, port)
    _, g = t.pair()
    data = os.urandom(2 << 20)
    for kind in ("5", "connect"):
        command = f"ProxyCommand={nc} -X {kind} -x {g.proxy} %h %p"
        _, out, _ = t.run(*sshd.login(port, "-o", command), "cat", stdin=data)
        check(out == data, f"nc -X {kind}: {len(out)} of {len(data)} bytes came back, or changed")


@test("apps: git clone over http")
def git(t):
    need("git")
    web, _, _, g = world(t)
    env = {**os.environ, "HOME": t.dir, "GIT_CONFIG_NOSYSTEM": "1"}
    work = t.path("work")
    t.run("git", "init", "-q", work)
    t.write("work/file", os.urandom(200000))
    t.run("git", "-C", work, "add", "file", env=env)
    t.run("git", "-C", work, "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-q",
          "-m", "a file", env=env)
    t.run("git", "clone", "-q", "--bare", work, t.path("www/repo.git"), env=env)
    t.run("git", "-C", t.path("www/repo.git"), "update-server-info", env=env)
    for i, proxy in enumerate(("socks5h", "http")):
        t.run("git", "-c", f"http.proxy={proxy}://{g.proxy}", "clone", "-q",
              f"http://web.adit.test:{web.port}/repo.git", t.path(f"clone{i}"), env=env)
        equal(sha256_file(t.path(f"clone{i}/file")), sha256_file(t.path("work/file")), proxy)


@test("apps: proxychains4")
def proxychains(t):
    chains = need("proxychains4", "curl")[0]
    web, _, _, g = world(t)
    for kind in ("socks5", "socks4", "http"):
        t.write("chains.conf", f"strict_chain\nproxy_dns\nquiet_mode\ntcp_connect_time_out 8000\n"
                f"[ProxyList]\n{kind} {g.socks[0]} {g.socks[1]}\n")
        _, out, _ = t.run(chains, "-f", t.path("chains.conf"), "curl", "-q", "-sS", "-m", "20",
                          *NOPROXY, f"http://127.0.0.1:{web.port}/hello")
        equal(out, b"hello from the web server\n", kind)


@test("apps: the PAC file, a unix socket listener, user name and password")
def listeners(t):
    web, _, e, g = world(t)
    code, head, s = 0, "", None
    _, out, _ = t.run(need("curl"), "-q", "-sS", "-i", *NOPROXY, f"http://{g.proxy}/proxy.pac")
    check(b"application/x-ns-proxy-autoconfig" in out and b"FindProxyForURL" in out
          and g.proxy.encode() in out, f"the PAC file was {out!r}")
    path = t.path("s")
    t.write("users", "alice:correct horse\nbob:x\n")
    os.chmod(t.path("users"), 0o600)
    e2 = t.exit(name="exit2")
    g2 = t.gateway(e2.ticket, f"gateway.users_file={t.path('users')}", name="gateway2",
                   listen=("127.0.0.1:0", f"unix:{path}"))
    for proxy in (g2.socks, path):
        reply, s = socks5(proxy, "127.0.0.1", web.port, user=("alice", "correct horse"))
        equal(reply, 0, f"SOCKS reply with the right password at {proxy}")
        s.sendall(b"GET /hello HTTP/1.0\r\n\r\n")
        check(read_to_end(s).endswith(b"hello from the web server\n"), "the page")
        equal(socks5(proxy, "127.0.0.1", web.port, user=("alice", "wrong"))[0],
              "authentication failed", "the wrong password")
        equal(socks5(proxy, "127.0.0.1", web.port)[0], b"\5\xff", "no password")
    code, head, s = http_connect(g2.socks, "127.0.0.1", web.port)
    check(code == 407 and "proxy-authenticate" in head.lower(), f"no credentials: {head}")
    code, head, s = http_connect(g2.socks, "127.0.0.1", web.port,
                                 ["Proxy-Authorization: Basic Ym9iOng="])
    equal(code, 200, "CONNECT with credentials")
    _, out, _ = t.run(need("curl"), "-q", "-sS", *NOPROXY, "-x", f"http://bob:x@{g2.proxy}",
                      f"http://127.0.0.1:{web.port}/hello")
    equal(out, b"hello from the web server\n", "plain HTTP with credentials")
    check(g2.running() and e.running(), "both still run")

# SPDX-License-Identifier: MIT
"""The lab's own brokers: that what the tests of signalling stand on is there."""

from harness import check, equal, need
from lab import lab_test


@lab_test("broker: mosquitto over TCP and TLS, with credentials, killed and started again",
          families=(4, 6))
def mosquitto(lab):
    pub, sub = need("mosquitto_pub", "mosquitto_sub")
    broker = lab.broker(tls=True, user=("lab", "secret"))
    host = lab.site("home").host("g")
    for scheme in ("mqtt", "mqtts"):
        where = ["-h", broker.place.address(), "-p", str(broker.PORTS[scheme]), "-t", "adit/lab"]
        if scheme == "mqtts":
            where += ["--cafile", broker.ca]
        user = ["-u", "lab", "-P", "secret"]
        listener = lab.t.spawn("sub", sub, *where, *user, "-C", "1", ns=host.ns)
        broker.await_log("Sending SUBACK")
        host.ns.run(pub, *where, *user, "-m", f"hello {scheme}")
        listener.expect(f"^hello {scheme}$")
        equal(listener.wait(), 0, "exit code of the subscriber")
        code, _, err = host.ns.run(pub, *where, "-m", "stranger", ok=False)
        check(code != 0, f"a client without credentials was let in: {err}")
        broker.restart()

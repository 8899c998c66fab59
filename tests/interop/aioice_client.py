# SPDX-License-Identifier: MIT
"""usage: aioice_client.py HOST PORT udp|tcp|tls

A TURN client of aioice's, for tests: user alice, password secret. Says "relayed ADDRESS:PORT", then
sends each line "ADDRESS:PORT TEXT" of its standard input, says "sent ADDRESS:PORT", and prints what
comes in the same way as it is told what to send.
"""

import asyncio
import ssl
import sys

from aioice import turn


class Printer(asyncio.DatagramProtocol):
    def datagram_received(self, data, peer):
        print(f"{peer[0]}:{peer[1]} {data.decode()}", flush=True)


async def main(host, port, leg):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    transport, _ = await turn.create_turn_endpoint(
        Printer, (host, int(port)), username="alice", password="secret",
        transport="udp" if leg == "udp" else "tcp", ssl=context if leg == "tls" else None)
    print("relayed {}:{}".format(*transport.get_extra_info("sockname")), flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        to, text = line.rstrip("\n").split(" ", 1)
        address, peer_port = to.rsplit(":", 1)
        before = asyncio.all_tasks()
        transport.sendto(text.encode(), (address, int(peer_port)))
        await asyncio.gather(*asyncio.all_tasks() - before)
        print(f"sent {to}", flush=True)
    transport.close()
    await asyncio.sleep(0.2)  # it does not tell when its Refresh has been answered


asyncio.run(main(*sys.argv[1:]))

#!/usr/bin/env python3
"""Opens one HBONE tunnel, sends a text and prints what came back: with --json, one JSON object

{"peer", "alpn", "tls", "status", "headers", "received", "error"}. Exits 0 when the tunnel carried
the text, 2 when it was refused (status), 1 when anything broke (error).
"""

import argparse
import asyncio
import json
import sys

import hbone


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connect", required=True, metavar="IP:PORT", help="the pod's HBONE port")
    parser.add_argument("--authority", required=True, metavar="IP:PORT", help="where the tunnel leads")
    parser.add_argument("--cert", required=True, help="PEM: leaf, then intermediates")
    parser.add_argument("--key", required=True)
    parser.add_argument("--root", required=True)
    parser.add_argument("--send", default="", metavar="TEXT")
    parser.add_argument("--repeat", type=int, default=1, help="send the text this often")
    parser.add_argument("--source-ip", help="the client's own address")
    parser.add_argument("--expect", metavar="SPIFFE", help="who must answer")
    parser.add_argument("--method", default="CONNECT")
    parser.add_argument("--header", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--streams", type=int, default=1, help="tunnels at once in the one session")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds for everything")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def request(args):
    headers = [(":method", args.method), (":authority", args.authority)]
    if args.method != "CONNECT":
        headers += [(":scheme", "https"), (":path", "/")]
    return headers + [tuple(header.split("=", 1)) for header in args.header]


async def carry(args, session, seen):
    tunnel = await session.open(request(args))
    headers = await tunnel.headers
    seen["status"] = int(headers.pop(":status"))
    seen["headers"] = headers
    if seen["status"] != 200:
        return

    async def send():
        await tunnel.write(args.send.encode() * args.repeat)
        await tunnel.finish()

    sending = asyncio.create_task(send())
    received = bytearray()
    while data := await tunnel.read():
        received += data
    await sending
    seen["received"] = received.decode(errors="replace")


async def run(args, seen):
    context = hbone.tls_context(False, args.cert, args.key, args.root)
    local = (args.source_ip, 0) if args.source_ip else None
    host, port = hbone.address(args.connect)
    reader, writer = await asyncio.open_connection(host, port, ssl=context, local_addr=local)
    seen["peer"], seen["alpn"], seen["tls"] = hbone.peer_of(writer)
    if args.expect and seen["peer"] != args.expect:
        raise ConnectionError(f"{seen['peer']} answered instead of {args.expect}")
    session = hbone.Session(reader, writer, client=True)
    await session.start()
    receiving = asyncio.create_task(session.run())
    tunnels = [seen] + [{} for _ in range(args.streams - 1)]
    await asyncio.gather(*(carry(args, session, tunnel) for tunnel in tunnels))
    if any(tunnel["status"] != seen["status"] or tunnel.get("received") != seen["received"] for tunnel in tunnels):
        raise ConnectionError("the tunnels differ")
    await session.close()
    receiving.cancel()


def main():
    args = arguments()
    seen = dict.fromkeys(["peer", "alpn", "tls", "status", "headers", "received", "error"])
    try:
        asyncio.run(asyncio.wait_for(run(args, seen), args.timeout))
    except Exception as error:  # whatever it was, the caller reads it
        seen["error"] = f"{type(error).__name__}: {error}"
    print(json.dumps(seen) if args.json else seen["received"] or seen["error"] or seen["status"])
    sys.exit(1 if seen["error"] else 0 if seen["status"] == 200 else 2)


if __name__ == "__main__":
    main()

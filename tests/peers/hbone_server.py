#!/usr/bin/env python3
"""Accepts HBONE tunnels and prints JSON lines of what it saw:

{"event": "listening", "address"}                        once; port 0 is replaced by the real one
{"event": "session", "from", "peer", "alpn", "tls"}      a TLS session
{"event": "refused", "from", "error"}                    a TLS session that came to nothing
{"event": "connect", "peer", "method", "authority", "headers", "status"}   a tunnel and its answer
{"event": "end", "authority", "received", "error"}       it ended after so many bytes
"""

import argparse
import asyncio
import json

import hbone


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listen", required=True, metavar="IP:PORT")
    parser.add_argument("--cert", required=True, help="PEM: leaf, then intermediates")
    parser.add_argument("--key", required=True)
    parser.add_argument("--root", required=True)
    parser.add_argument("--echo", action="store_true", help="send back what comes instead of connecting")
    parser.add_argument("--expect", metavar="SPIFFE", help="anybody else is answered 401")
    parser.add_argument("--status", type=int, default=200, help="answer this; a refusal unless 200")
    parser.add_argument("--goaway-after", type=int, metavar="N", help="say GOAWAY when N tunnels were opened")
    return parser.parse_args()


def say(event, **details):
    print(json.dumps({"event": event, **details}), flush=True)


async def echo(tunnel):
    received = 0
    while data := await tunnel.read():
        received += len(data)
        await tunnel.write(data)
    await tunnel.finish()
    return received


async def relay(tunnel, reader, writer):
    async def outward():
        while data := await reader.read(hbone.CHUNK):
            await tunnel.write(data)
        await tunnel.finish()

    answering = asyncio.create_task(outward())
    received = 0
    while data := await tunnel.read():
        received += len(data)
        writer.write(data)
        await writer.drain()
    writer.write_eof()
    await answering
    writer.close()
    return received


class Server:
    def __init__(self, args):
        self.args, self.opened = args, 0

    async def serve(self, reader, writer):
        came_from = "%s:%s" % writer.get_extra_info("peername")[:2]
        try:
            peer, alpn, tls = hbone.peer_of(writer)
        except Exception as error:
            say("refused", **{"from": came_from}, error=str(error))
            writer.close()
            return
        say("session", **{"from": came_from}, peer=peer, alpn=alpn, tls=tls)
        session = hbone.Session(reader, writer, client=False)
        session.on_connect = lambda tunnel, headers: self.tunnel(session, tunnel, headers, peer)
        await session.start()
        await session.run()

    async def tunnel(self, session, tunnel, headers, peer):
        method, authority = headers.pop(":method"), headers.pop(":authority", "")
        status, carry = await self.decide(method, authority, peer)
        say("connect", peer=peer, method=method, authority=authority, headers=headers, status=status)
        received, error = 0, None
        try:
            self.opened += 1
            leaving = self.opened == self.args.goaway_after
            if leaving:
                session.last_stream_id = tunnel.id
            await session.answer(tunnel, status, end=carry is None)
            if leaving:
                await session.leave()
            if carry:
                received = await carry(tunnel)
        except Exception as broken:
            error = f"{type(broken).__name__}: {broken}"
        say("end", authority=authority, received=received, error=error)

    async def decide(self, method, authority, peer):
        """The status, and with 200 what carries the tunnel."""
        if method != "CONNECT":
            return 400, None
        if self.args.expect and peer != self.args.expect:
            return 401, None
        if self.args.status != 200:
            return self.args.status, None
        if self.args.echo:
            return 200, echo
        try:
            reader, writer = await asyncio.open_connection(*hbone.address(authority))
        except (OSError, ValueError) as error:
            say("unreachable", authority=authority, error=str(error))
            return 503, None
        return 200, lambda tunnel: relay(tunnel, reader, writer)


async def main():
    args = arguments()
    context = hbone.tls_context(True, args.cert, args.key, args.root)
    server = await asyncio.start_server(Server(args).serve, *hbone.address(args.listen), ssl=context)
    say("listening", address="%s:%s" % server.sockets[0].getsockname()[:2])
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())

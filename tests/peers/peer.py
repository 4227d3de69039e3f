"""Applications and clients of other makers, for lab tests: gRPC (grpcio), WebSocket (websockets), HTTP/1.1 by hand.

    peer.py VERB PORT|ADDRESS     servers say "ready" when they listen; clients print one JSON object
"""

import json
import socket
import sys
import threading
from concurrent import futures


def same(data):
    return data


def grpc_server(port):
    """/lab.Echo: Unary, Split (one to many), Join (many to one), Chat (both ways), Fail."""
    import grpc

    def metadata(context):
        return dict(context.invocation_metadata()).get("user", "")

    def unary(request, context):
        context.set_trailing_metadata((("seen-user", metadata(context)),))
        return request

    def split(request, context):
        yield from (bytes([byte]) for byte in request)

    def join(requests, context):
        return b"".join(requests)

    def chat(requests, context):
        for request in requests:
            yield request + b"!"

    def fail(request, context):
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, request.decode())

    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Split": grpc.unary_stream_rpc_method_handler(split),
        "Join": grpc.stream_unary_rpc_method_handler(join),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
    }
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("lab.Echo", handlers),))
    server.add_insecure_port(f"0.0.0.0:{port}")
    server.start()
    print("ready", flush=True)
    server.wait_for_termination()


def grpc_client(address):
    import grpc

    with grpc.insecure_channel(address) as channel:
        unary = channel.unary_unary("/lab.Echo/Unary")
        answer, call = unary.with_call(b"one", metadata=(("user", "jason"),), timeout=8)
        said = {"unary": answer.decode(), "trailer": dict(call.trailing_metadata()).get("seen-user")}
        said["split"] = [part.decode() for part in channel.unary_stream("/lab.Echo/Split")(b"abc", timeout=8)]
        parts = iter([b"a", b"b", b"c"])
        said["join"] = channel.stream_unary("/lab.Echo/Join")(parts, timeout=8).decode()
        said["chat"] = talk(channel)
        said["many"] = sum(future.result() == b"x" * 5000 for future in [unary.future(b"x" * 5000, timeout=8) for _ in range(50)])
        try:
            channel.unary_unary("/lab.Echo/Fail")(b"why", timeout=8)
        except grpc.RpcError as error:
            said["fail"] = [error.code().name, error.details()]
        try:
            channel.unary_unary("/lab.Echo/Missing")(b"", timeout=8)
        except grpc.RpcError as error:
            said["missing"] = error.code().name
    print(json.dumps(said))


def talk(channel):
    """Each message is sent when the answer to the one before it has come."""
    turn, answers = threading.Semaphore(1), []

    def messages():
        for number in range(5):
            turn.acquire()
            yield f"{number}".encode()

    for answer in channel.stream_stream("/lab.Echo/Chat")(messages(), timeout=8):
        answers.append(answer.decode())
        turn.release()
    return answers


def websocket_server(port):
    from websockets.sync.server import serve

    def handle(connection):
        for message in connection:
            if message == "bye":
                connection.close(4001, "as you say")
                return
            connection.send(message)

    with serve(handle, "0.0.0.0", int(port), subprotocols=["echo.v1"]) as server:
        print("ready", flush=True)
        server.serve_forever()


def websocket_client(url):
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    with connect(url, subprotocols=["echo.v1"], open_timeout=8, additional_headers={"user": "jason"}) as connection:
        said = {"subprotocol": connection.subprotocol}
        connection.send("text")
        said["text"] = connection.recv(timeout=8)
        data = bytes(range(256)) * 1000
        connection.send(data)
        said["binary"] = connection.recv(timeout=8) == data
        said["pong"] = connection.ping().wait(8)
        connection.send("bye")
        try:
            connection.recv(timeout=8)
        except ConnectionClosed as closed:
            said["close"] = [closed.rcvd.code, closed.rcvd.reason]
    print(json.dumps(said))


def http_server(port):
    """Answers chunked with a trailer, asks for bodies with 100 Continue, and says what trailers it got."""
    listener = socket.create_server(("0.0.0.0", int(port)))
    print("ready", flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=http_connection, args=(connection,), daemon=True).start()


def http_connection(connection):
    lines = connection.makefile("rb")
    while True:
        head = fields(lines)
        if not head:
            return
        expected = "expect" in head
        if expected:
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body, trailers = content(lines, head)
        said = json.dumps({"length": len(body), "expected": expected, "head": head, "trailers": trailers}).encode()
        answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-end\r\n\r\n"
        answer += b"%x\r\n%s\r\n0\r\nx-end: %d\r\n\r\n" % (len(said), said, len(body))
        connection.sendall(answer)


def fields(lines):
    found = {}
    while (line := lines.readline().decode().rstrip("\r\n")):
        name, _, value = line.partition(":")
        found[name.lower()] = value.strip()
    return found


def content(lines, head):
    if "chunked" not in head.get("transfer-encoding", ""):
        return lines.read(int(head.get("content-length", 0))), {}
    body = b""
    while (size := int(lines.readline().split(b";")[0], 16)):
        body += lines.read(size)
        lines.readline()
    return body, fields(lines)


def proxy(port):
    """A proxy that knows CONNECT only."""
    listener = socket.create_server(("0.0.0.0", int(port)))
    print("ready", flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=proxied, args=(connection,), daemon=True).start()


def proxied(connection):
    lines = connection.makefile("rb", buffering=0)
    method, target, _ = lines.readline().decode().split(" ")
    fields(lines)
    if method != "CONNECT":
        connection.sendall(b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        connection.close()
        return
    host, _, port = target.rpartition(":")
    other = socket.create_connection((host, int(port)))
    connection.sendall(b"HTTP/1.1 200 Connection established\r\nvia: peer\r\n\r\n")
    threading.Thread(target=pipe, args=(other, connection), daemon=True).start()
    pipe(connection, other)


def pipe(source, to):
    while data := source.recv(65536):
        to.sendall(data)
    to.shutdown(socket.SHUT_WR)


VERBS = {
    "proxy": proxy,
    "grpc-server": grpc_server,
    "grpc-client": grpc_client,
    "websocket-server": websocket_server,
    "websocket-client": websocket_client,
    "http-server": http_server,
}

if __name__ == "__main__":
    VERBS[sys.argv[1]](sys.argv[2])

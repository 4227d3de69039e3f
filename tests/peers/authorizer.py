"""An external authorizer made of others' parts: Envoy's own messages (xds-protos) over grpcio, and Python's HTTP server.

    authorizer.py grpc|http PORT LOG     says "ready" when it listens; writes what it was asked to LOG, a line each

By the path of the request: /slow answers late, /broken fails, /deny* is denied, all else is allowed. What it is asked
about connections is allowed unless the name in their TLS hello begins with "no".
"""

import json
import sys
import time
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def grpc_server(port, log):
    import grpc
    from envoy.config.core.v3 import base_pb2 as base
    from envoy.service.auth.v3 import external_auth_pb2 as auth
    from envoy.service.auth.v3 import external_auth_pb2_grpc as service
    from google.protobuf.json_format import MessageToDict
    from google.rpc import status_pb2
    from google.protobuf import wrappers_pb2 as wrappers

    def header(key, value, **more):
        return base.HeaderValueOption(header=base.HeaderValue(key=key, value=value), **more)

    def denied(request):
        answer = auth.CheckResponse(status=status_pb2.Status(code=7, message="not today"))
        if request.http.path.startswith("/denied-so"):
            answer.denied_response.status.code = 401
            answer.denied_response.body = "who are you?"
            answer.denied_response.headers.extend([header("x-why", "nobody"), header("content-length", "1")])
        return answer

    def allowed():
        answer = auth.CheckResponse(status=status_pb2.Status(code=0))
        ok = answer.ok_response
        ok.headers.extend([
            header("x-user", "ann"),
            header("x-tags", "b", append=wrappers.BoolValue(value=True)),
            header("host", "forged"),
        ])
        ok.headers_to_remove.extend(["x-secret", "content-length"])
        ok.response_headers_to_add.append(header("x-checked", "yes"))
        ok.query_parameters_to_set.add(key="seen", value="1")
        ok.query_parameters_to_remove.append("token")
        return answer

    class Authorizer(service.AuthorizationServicer):
        def Check(self, request, context):
            asked = request.attributes
            log.write(json.dumps(MessageToDict(asked)) + "\n")
            log.flush()
            if not asked.request.HasField("http"):
                code = 7 if asked.tls_session.sni.startswith("no") else 0
                return auth.CheckResponse(status=status_pb2.Status(code=code))
            path = asked.request.http.path
            if path.startswith("/slow"):
                time.sleep(3)
            if path.startswith("/broken"):
                context.abort(grpc.StatusCode.UNAVAILABLE, "out of order")
            return denied(asked.request) if path.startswith("/den") else allowed()

    server = grpc.server(futures.ThreadPoolExecutor(8))
    service.add_AuthorizationServicer_to_server(Authorizer(), server)
    server.add_insecure_port(f"0.0.0.0:{port}")
    server.start()
    print("ready", flush=True)
    server.wait_for_termination()


def http_server(port, log):
    class Authorizer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do(self):
            said = {name.lower(): value for name, value in self.headers.items()}
            log.write(json.dumps({"method": self.command, "path": self.path, "headers": said}) + "\n")
            log.flush()
            path = self.path.removeprefix("/check")
            if path.startswith("/broken"):
                self.answer(503, [], b"out of order")
            elif path.startswith("/den"):
                self.answer(401, [("x-why", "nobody"), ("x-inner", "1")], b"who are you?")
            else:
                self.answer(200, [("x-user", "ann"), ("x-checked", "yes"), ("x-inner", "1")], b"")

        do_GET = do_PUT = do_POST = do

        def answer(self, status, headers, body):
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("0.0.0.0", int(port)), Authorizer)
    print("ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    verb, port, path = sys.argv[1:]
    {"grpc": grpc_server, "http": http_server}[verb](port, open(path, "a"))

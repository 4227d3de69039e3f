"""The one answer of a Kubernetes API server that a certificate authority needs: TokenReview.

Arguments: port, a file with JSON that maps tokens to {username, pod, node, audience}. Checks what it is asked with.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path != "/apis/authentication.k8s.io/v1/tokenreviews":
            return self.answer(404, {})
        if self.headers["authorization"] != "Bearer the-ca-itself" or review["kind"] != "TokenReview":
            return self.answer(403, {"kind": "Status", "reason": "Forbidden"})
        with open(sys.argv[2], encoding="utf-8") as file:
            holder = json.load(file).get(review["spec"]["token"])
        wanted = review["spec"]["audiences"]
        if not holder or holder["audience"] not in wanted:
            return self.answer(201, {"status": {"authenticated": False, "error": "invalid bearer token"}})
        key = "authentication.kubernetes.io/"
        extra = {key + "pod-name": [holder["pod"]], key + "node-name": [holder["node"]]}
        user = {"username": holder["username"], "extra": extra}
        self.answer(201, {"status": {"authenticated": True, "audiences": wanted, "user": user}})

    def answer(self, status, body):
        text = json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", **body}).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *words):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Api).serve_forever()

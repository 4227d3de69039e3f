"""Asks a certificate authority over istio.v1.auth.IstioCertificateService, with gRPC that is not ours.

Reads one question as JSON on standard input: address, root (a file), csr (PEM), and maybe token, cluster, identity,
seconds, certificate and key (files). Prints the answer as JSON: code, message, chain.
"""

import json
import sys

import grpc


def field(number, payload):
    """A length-delimited protobuf field."""
    out, length = bytes([number << 3 | 2]), len(payload)
    while length > 127:
        out += bytes([length & 127 | 128])
        length >>= 7
    return out + bytes([length]) + payload


def varint(data, at):
    value, shift = 0, 0
    while True:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at


def request(asked):
    out = field(1, asked["csr"].encode())
    if asked.get("identity"):
        value = field(3, asked["identity"].encode())
        out += field(2, field(1, field(1, b"ImpersonatedIdentity") + field(2, value)))
    seconds = asked.get("seconds", 0)
    if seconds:
        out += bytes([3 << 3])
        while seconds > 127:
            out += bytes([seconds & 127 | 128])
            seconds >>= 7
        out += bytes([seconds])
    return out


def chain(answer):
    at, found = 0, []
    while at < len(answer):
        assert answer[at] == 1 << 3 | 2
        length, at = varint(answer, at + 1)
        found.append(answer[at : at + length].decode())
        at += length
    return found


def read(name):
    with open(name, "rb") as file:
        return file.read()


def main():
    asked = json.load(sys.stdin)
    shown = [read(asked[name]) if asked.get(name) else None for name in ("key", "certificate")]
    credentials = grpc.ssl_channel_credentials(read(asked["root"]), *shown)
    metadata = []
    if asked.get("token"):
        metadata.append(("authorization", "Bearer " + asked["token"]))
    if asked.get("cluster"):
        metadata.append(("clusterid", asked["cluster"]))
    with grpc.secure_channel(asked["address"], credentials) as channel:
        call = channel.unary_unary("/istio.v1.auth.IstioCertificateService/CreateCertificate")
        try:
            answer = call(request(asked), timeout=10, metadata=metadata)
            print(json.dumps({"code": "OK", "message": "", "chain": chain(answer)}))
        except grpc.RpcError as error:
            print(json.dumps({"code": error.code().name, "message": error.details(), "chain": []}))


main()

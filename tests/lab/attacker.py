"""An attacker in a pod, with CAP_NET_RAW: `dial` as any process may, with options that lie; `spoof` by hand-made packets."""
import random
import socket
import struct
import sys

# CAP_NET_RAW is enough for it.
IP_TRANSPARENT = 19
MPTCP = 262


def dial(address, port, *options):
    options = dict(option.partition("=")[::2] for option in options)
    protocol = MPTCP if "mptcp" in options else socket.IPPROTO_TCP
    stream = socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol)
    stream.settimeout(2)
    if "mark" in options:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, int(options["mark"], 0))
    if "device" in options:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, options["device"].encode() + b"\0")
    if "source" in options:
        stream.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
        stream.bind((options["source"], 0))
    stream.connect((address, int(port)))
    stream.sendall(options.get("say", "hello\r\n").encode().decode("unicode_escape").encode("latin-1"))
    answer = stream.recv(1024)
    return f"answered {answer!r}" if answer else "closed"


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packet(source, destination, ports, numbers, flags, payload=b""):
    ends = socket.inet_aton(source) + socket.inet_aton(destination)
    head = struct.pack("!HHIIBBHHH", *ports, *numbers, 5 << 4, flags, 64240, 0, 0)
    pseudo = ends + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(head) + len(payload))
    head = head[:16] + struct.pack("!H", checksum(pseudo + head + payload)) + head[18:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(head) + len(payload), 0, 0, 64, socket.IPPROTO_TCP, 0)
    return ip + ends + head + payload


def spoof(source, destination, port):
    """As another pod: the handshake's first packet, then data behind guesses of what was answered."""
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    for own in range(20000, 20016):
        ports, sequence = (own, int(port)), random.getrandbits(32)
        raw.sendto(packet(source, destination, ports, (sequence, 0), 0x02), (destination, 0))
        for _ in range(8):
            numbers = ((sequence + 1) & 0xFFFFFFFF, random.getrandbits(32))
            raw.sendto(packet(source, destination, ports, numbers, 0x18, b"hello\r\n"), (destination, 0))
    return "sent"


try:
    print({"dial": dial, "spoof": spoof}[sys.argv[1]](*sys.argv[2:]))
except ConnectionResetError:
    print("reset")
except TimeoutError:
    print("no answer")
except OSError as error:
    print(f"{type(error).__name__}: {error}")

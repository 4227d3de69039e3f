"""HBONE (HTTP/2 CONNECT in mutual TLS 1.3) on the `h2` package and Python's own `ssl`.

Shares no code with Underpass: what both understand is what the wire says. `Session` drives one
HTTP/2 connection for either side; `Tunnel` is one CONNECT stream with `read`, `write`, `finish`.
"""

import asyncio
import ssl

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import hyperframe.frame

STREAM_WINDOW = 4 << 20  # as ztunnel
CHUNK = 64 << 10


def tls_context(server, cert, key, root):
    """Mutual TLS 1.3 with ALPN h2; `cert` holds the leaf and its intermediates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(cert, key)
    context.load_verify_locations(root)
    context.set_alpn_protocols(["h2"])
    return context


def peer_of(writer):
    """(SPIFFE identity, ALPN, TLS version) of the other end; refuses anything but one URI name."""
    tls = writer.get_extra_info("ssl_object")
    names = tls.getpeercert().get("subjectAltName", ())
    uris = [value for kind, value in names if kind == "URI"]
    if len(uris) != 1 or not uris[0].startswith("spiffe://"):
        raise ssl.SSLError(f"the peer's names are {names}, not one SPIFFE identity")
    return uris[0], tls.selected_alpn_protocol(), tls.version()


class Tunnel:
    """One CONNECT stream."""

    def __init__(self, session, stream_id):
        self.session, self.id = session, stream_id
        self.headers = asyncio.get_running_loop().create_future()
        self.incoming = asyncio.Queue()
        self.failed = None

    async def read(self):
        """The next bytes; b"" when the peer finished. ConnectionError when it reset the stream."""
        data, credit = await self.incoming.get()
        if isinstance(data, Exception):
            raise data
        if credit and not self.session.closed:
            self.session.h2.acknowledge_received_data(credit, self.id)
            await self.session.flush()
        return data

    async def write(self, data):
        while data:
            await self.session.room(self)
            room = self.session.h2.local_flow_control_window(self.id)
            part = data[: min(room, self.session.h2.max_outbound_frame_size)]
            self.session.h2.send_data(self.id, part)
            await self.session.flush()
            data = data[len(part):]

    async def finish(self):
        self.session.h2.end_stream(self.id)
        await self.session.flush()

    async def reset(self):
        self.session.h2.reset_stream(self.id, 8)
        await self.session.flush()

    def break_off(self, error):
        self.failed = error
        self.incoming.put_nowait((error, 0))
        if not self.headers.done():
            self.headers.set_exception(error)
            self.headers.exception()  # nobody needs to have waited for it


class Session:
    """One HTTP/2 connection over an established TLS stream."""

    def __init__(self, reader, writer, client, on_connect=None):
        self.reader, self.writer, self.on_connect = reader, writer, on_connect
        config = h2.config.H2Configuration(client_side=client, header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config=config)
        # Assigned as a whole: a value changed later would be believed, but never announced.
        values = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW}
        self.h2.local_settings = h2.settings.Settings(client=client, initial_values=values)
        self.tunnels, self.tasks = {}, set()
        self.closed, self.last_stream_id = False, None
        self.windows = asyncio.Condition()

    async def start(self):
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(STREAM_WINDOW)
        await self.flush()

    async def run(self):
        """Receives until the connection ends."""
        try:
            while data := await self.reader.read(CHUNK):
                for event in self.h2.receive_data(data):
                    await self.on_event(event)
                await self.flush()
        except (ConnectionError, ssl.SSLError, h2.exceptions.ProtocolError) as error:
            self.end(ConnectionError(f"{type(error).__name__}: {error}"))
        finally:
            self.end(ConnectionError("the session ended"))
            async with self.windows:
                self.windows.notify_all()

    def end(self, error):
        self.closed = True
        for tunnel in self.tunnels.values():
            tunnel.break_off(error)
        self.tunnels.clear()

    async def on_event(self, event):
        tunnel = self.tunnels.get(getattr(event, "stream_id", None))
        match event:
            case h2.events.RequestReceived():
                self.accept(event)
            case h2.events.ResponseReceived() if tunnel:
                tunnel.headers.set_result(dict(event.headers))
            case h2.events.DataReceived() if tunnel:
                tunnel.incoming.put_nowait((event.data, event.flow_controlled_length))
            case h2.events.StreamEnded() if tunnel:
                tunnel.incoming.put_nowait((b"", 0))
            case h2.events.StreamReset() if tunnel:
                tunnel.break_off(ConnectionResetError(f"reset with code {event.error_code}"))
        async with self.windows:
            self.windows.notify_all()

    def accept(self, event):
        if self.last_stream_id is not None and event.stream_id > self.last_stream_id:
            return  # beyond our GOAWAY: the client tries elsewhere
        tunnel = self.tunnels[event.stream_id] = Tunnel(self, event.stream_id)
        task = asyncio.create_task(self.on_connect(tunnel, dict(event.headers)))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def open(self, headers):
        """Sends a request; the tunnel's `headers` become the response's."""
        stream_id = self.h2.get_next_available_stream_id()
        tunnel = self.tunnels[stream_id] = Tunnel(self, stream_id)
        self.h2.send_headers(stream_id, headers)
        await self.flush()
        return tunnel

    async def answer(self, tunnel, status, end, headers=()):
        self.h2.send_headers(tunnel.id, [(":status", str(status)), *headers], end_stream=end)
        await self.flush()

    async def room(self, tunnel):
        """Waits until the tunnel may send."""
        async with self.windows:
            await self.windows.wait_for(
                lambda: self.closed or tunnel.failed or self.h2.local_flow_control_window(tunnel.id) > 0
            )
        if self.closed or tunnel.failed:
            raise tunnel.failed or ConnectionError("the session ended")

    async def flush(self):
        if data := self.h2.data_to_send():
            self.writer.write(data)
            await self.writer.drain()

    async def leave(self):
        """GOAWAY that lets open tunnels live; `h2` itself knows only the end of everything."""
        frame = hyperframe.frame.GoAwayFrame(0, last_stream_id=self.last_stream_id)
        self.writer.write(frame.serialize())
        await self.writer.drain()

    async def close(self):
        """Says farewell."""
        if not self.closed:
            self.h2.close_connection()
            await self.flush()
        self.writer.close()


def address(text):
    """`10.0.0.1:80` or `[fd00::1]:80`."""
    host, port = text.rsplit(":", 1)
    return host.strip("[]"), int(port)

"""A line with latency: a relay of TCP connections, in a process of its own, that delays all bytes.

    python -m benchmarks.line HOST:PORT MILLISECONDS

It listens on a port of its own choice, prints it, and relays until it is ended. A byte arrives half
a round trip after it was sent, in both directions, and a new connection carries nothing for a whole
one, as long as its handshake would take. Like a real line it holds a bounded number of bytes on
their way (`WINDOW`, what Linux lets a connection grow to); it has no other limit of bandwidth, and
it loses nothing.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

#: Bytes of one connection, in one direction, that have been sent and have not arrived.
WINDOW = 2 * 1024 * 1024
_PROJECT = Path(__file__).resolve().parents[1]


@contextmanager
def line(endpoint: str, round_trip_ms: float) -> Iterator[str]:
    """A line to a server, until the end of the `with` block.

    Args:
        endpoint: the server's URL.

    Yields:
        The URL of the same server at the near end of the line.
    """
    command = [sys.executable, "-m", "benchmarks.line", urlsplit(endpoint).netloc]
    with subprocess.Popen(
        [*command, str(round_trip_ms)], cwd=_PROJECT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def capacity(size: int, *, connections: int = 16, exchanges: int = 100) -> float:
    """Exchanges a second that a line without delay carries: `size` bytes there, 200 back.

    Measured with nothing but sockets at both ends. A line is not what holds up whom it delays if
    this is several times what they reach over it.
    """

    def swallow(connection: socket.socket) -> None:
        with connection:
            while connection.recv(size, socket.MSG_WAITALL):
                connection.sendall(answer)

    def accept() -> None:
        for _ in range(connections):
            Thread(target=swallow, args=(server.accept()[0],), daemon=True).start()

    def exchange(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            for _ in range(exchanges):
                connection.sendall(content)
                connection.recv(len(answer), socket.MSG_WAITALL)

    content, answer = bytes(size), bytes(200)
    with socket.create_server(("127.0.0.1", 0), backlog=connections) as server:
        host, port = server.getsockname()
        Thread(target=accept, daemon=True).start()
        with line(f"http://{host}:{port}", 0) as url, ThreadPoolExecutor(connections) as pool:
            started = time.perf_counter()
            list(pool.map(exchange, [urlsplit(url).port] * connections))
            return connections * exchanges / (time.perf_counter() - started)


class _End(asyncio.Protocol):
    """One end of a connection; what it receives, its peer sends later."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._loop = asyncio.get_running_loop()
        self._on_their_way: deque[bytes] = deque()  # the last one is empty: the end
        self._bytes = 0
        self._jammed = False
        self.transport: asyncio.Transport | None = None
        self.peer: _End

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._on_their_way.append(data)
        self._bytes += len(data)
        self._heed_window()
        # One timer for each: which of two of the same moment comes first does not matter.
        self._loop.call_later(self._delay, self._arrive)

    def eof_received(self) -> bool:
        self.data_received(b"")
        return True  # the other direction may go on

    def connection_lost(self, _: Exception | None) -> None:
        self._loop.call_later(self._delay, self.peer.close)

    def pause_writing(self) -> None:
        self.peer.jam(jammed=True)

    def resume_writing(self) -> None:
        self.peer.jam(jammed=False)

    def jam(self, *, jammed: bool) -> None:
        """The far end takes nothing at the moment, or takes again."""
        self._jammed = jammed
        self._heed_window()

    def close(self) -> None:
        if self.transport:
            self.transport.close()

    def _arrive(self) -> None:
        data = self._on_their_way.popleft()
        self._bytes -= len(data)
        self._heed_window()
        far = self.peer.transport
        if far is None or far.is_closing():
            return
        if data:
            far.write(data)
        else:
            far.write_eof()

    def _heed_window(self) -> None:
        if not self.transport or self.transport.is_closing():
            return
        if self._jammed or self._bytes >= WINDOW:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()


class _Near(_End):
    """The end that a program connects to; it makes the far one."""

    def __init__(self, host: str, port: int, round_trip: float) -> None:
        super().__init__(round_trip / 2)
        self._where = host, port
        self._round_trip = round_trip
        self.peer = _End(round_trip / 2)
        self.peer.peer = self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport
        # Not at once: asyncio begins to read behind this call.
        self._loop.call_soon(self.transport.pause_reading)
        self._task = self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        await asyncio.sleep(self._round_trip)
        try:
            await self._loop.create_connection(lambda: self.peer, *self._where)
        except OSError:
            self.close()
        else:
            self._heed_window()


async def _relay(host: str, port: int, round_trip: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: _Near(host, port, round_trip), "127.0.0.1", 0, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    host, _, port = sys.argv[1].partition(":")
    asyncio.run(_relay(host, int(port), float(sys.argv[2]) / 1000))


if __name__ == "__main__":
    main()

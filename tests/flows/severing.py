"""A road to PostgreSQL on which every connection is cut that says a certain word."""

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

PIECE_MAX = 1 << 16
LOOK_S = 0.05


class Road:
    """Connections to `target` through a socket of its own, each with a thread."""

    def __init__(self, target: tuple[str, int], word: bytes) -> None:
        self._target = target
        self._word = word
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._closed = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def close(self) -> None:
        self._closed.set()
        for thread in list(self._threads):
            thread.join()

    def _accept(self) -> None:
        with self._listener:
            self._listener.settimeout(LOOK_S)
            while not self._closed.is_set():
                with suppress(TimeoutError):
                    client, _ = self._listener.accept()
                    thread = threading.Thread(target=self._carry, args=(client, socket.create_connection(self._target)))
                    self._threads.append(thread)
                    thread.start()

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        to = {client: server, server: client}
        with client, server, suppress(OSError):
            while not self._closed.is_set():
                for side in select.select([client, server], [], [], LOOK_S)[0]:
                    piece = side.recv(PIECE_MAX)
                    if not piece or (side is client and self._word in piece):
                        return
                    to[side].sendall(piece)


@contextmanager
def severing(url: str, word: bytes) -> Iterator[str]:
    """The same database by such a road."""
    parts = urlsplit(url)
    road = Road((parts.hostname or "127.0.0.1", parts.port or 5432), word)
    login = parts.netloc.rpartition("@")[0]
    try:
        yield parts._replace(netloc=f"{login}@127.0.0.1:{road.port}").geturl()
    finally:
        road.close()

"""Looking up names, in threads of our own.

The system's resolver blocks, for as long as it likes, and the threads that asyncio lends for it are few and everybody's
(uvloop has four). Here a name that hangs keeps one thread, however often it is asked for; other names go on.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

LOOKUPS_MAX: Final = 32
"""Names that are looked up at once."""


class Names:
    """What the system says of names. Belongs to one event loop."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(LOOKUPS_MAX, thread_name_prefix="names")
        self._under_way: dict[str, asyncio.Future[Sequence[str]]] = {}

    async def lookup(self, host: str) -> Sequence[str]:
        """All addresses of `host`, the one to try first at the front. Raises `OSError`. The caller bounds the time."""
        found = self._under_way.get(host)
        if found is None:
            found = asyncio.get_running_loop().run_in_executor(self._threads, _addresses, host)
            self._under_way[host] = found
            found.add_done_callback(lambda done: self._forget(host, done))
        return await asyncio.shield(found)

    def close(self) -> None:
        """Take no more names. A lookup under way ends by itself."""
        self._threads.shutdown(wait=False)

    def _forget(self, host: str, done: asyncio.Future[Sequence[str]]) -> None:
        """Ask anew next time. An error that everybody was too impatient to hear is heard here."""
        del self._under_way[host]
        if not done.cancelled():
            done.exception()


def _addresses(host: str) -> Sequence[str]:
    answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(address[0]) for _, _, _, _, address in answers))

"""What keeps one stranger from using up the service's connections."""

import resource
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

import httpx
import pytest
from granian.http import HTTP1Settings

from api.running.serving import HEADERS_WITHIN_MS

SILENT = 1_100
"""More than the connections that Granian takes at once by default (1024 a process)."""
FILES = 4_096


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FILES:
        pytest.skip("the limit of open files is too low for this test")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, FILES), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connect(url: str, said: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", int(urlsplit(url).port or 0)), timeout=60)
    connection.sendall(said)
    return connection


@pytest.mark.long
def test_silent_connections_do_not_stop_the_service_and_are_hung_up_on(standing, many_files):
    with ExitStack() as open_ones:
        waiting = select.poll()
        for number in range(SILENT):
            begun = b"GET /healthz HTTP/1.1\r\n" if number % 2 else b""
            waiting.register(open_ones.enter_context(connect(standing.url, begun)), select.POLLIN)
        deadline = time.monotonic() + HTTP1Settings.header_read_timeout / 1000 - 5  # by itself Granian does it later
        assert httpx.get(f"{standing.url}/healthz", timeout=HEADERS_WITHIN_MS / 2000).status_code == 200
        while (ended := len(waiting.poll(0))) < SILENT and time.monotonic() < deadline:
            time.sleep(0.2)
        assert ended == SILENT


def test_http_2_is_not_spoken_in_clear(standing):
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"
    answer = b""
    with connect(standing.url, preface) as connection, suppress(ConnectionError):  # or hangs up on what it has not read
        answer = connection.recv(4096)
    assert not answer or answer.startswith(b"HTTP/1.1 4"), answer

"""What the tests of the embedded PostgreSQL share: servers that end with the test, and services in other processes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from api.postgres import server as postgres
from api.postgres.server import Server

ROOT = Path(postgres.__file__).parents[2]
END_TIMEOUT_S = 90


class Service:
    """Another process that supervises a server; `facts` is what it printed."""

    def __init__(
        self, directory: Path, *options: str, path: str = "", python: str = sys.executable, **popen: Any
    ) -> None:
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, (path, str(ROOT), os.environ.get("PYTHONPATH"))))
        }
        self.process = subprocess.Popen(
            [python, str(Path(__file__).with_name("service.py")), str(directory), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            **popen,
        )
        assert self.process.stdout
        self.lines: list[bytes] = []
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith(b"{"):
                break
        else:
            assert self.process.stderr
            raise AssertionError(self.process.stderr.read().decode())
        self.facts: dict[str, Any] = json.loads(self.lines[-1])

    def end(self) -> None:
        self.process.communicate(timeout=END_TIMEOUT_S)


@pytest.fixture
def service() -> Iterator[Callable[..., Service]]:
    """`service(directory)`: a supervising process of its own, ended in order after the test."""
    with ExitStack() as ends:

        def begin(directory: Path, *options: str, **more: Any) -> Service:
            begun = Service(directory, *options, **more)
            ends.callback(begun.end)
            return begun

        yield begin


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    """`start(directory)`: a server of this process, not durable unless asked, stopped after the test."""
    with ExitStack() as ends:

        def begin(directory: Path, **options: Any) -> Server:
            server = postgres.start(directory, **{"durable": False, **options})
            ends.callback(postgres.stop, server)
            return server

        yield begin


@pytest.fixture(scope="session")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("made") / "pg"
    with postgres.running(directory, durable=False):
        pass
    (directory / "state.json").unlink()
    return directory


@pytest.fixture
def pg(_made: Path, tmp_path: Path) -> Path:
    """A directory of ours with a stopped cluster: a copy, which is quicker than another initdb."""
    subprocess.run(["cp", "-a", _made, tmp_path / "pg"], check=True)
    return tmp_path / "pg"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests of a module that only ask it questions."""
    with postgres.running(tmp_path_factory.mktemp("shared") / "pg", durable=False) as server:
        yield server

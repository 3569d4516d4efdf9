"""One PostgreSQL cluster per test run, shared by all xdist workers; called from the root conftest.py.

The process that pytest was started in makes the cluster when the first test (or the first worker) asks for it, and
removes it at the end. Workers get its address with their input.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from api.postgres.server import Server, start, stop

VERSIONS = ("18", "16")
_WORKER_INPUT = "purser_postgres"
_SERVER = pytest.StashKey[Server]()
_directories: dict[Path, Path] = {}  # by data directory: the temporary directory to remove with it


def add_options(parser: pytest.Parser) -> None:
    """`--postgres-version=16|18`; for `pytest_addoption`."""
    parser.addoption("--postgres-version", choices=VERSIONS, default=VERSIONS[0], help="PostgreSQL to test against")


def start_for_tests(*, version: int = 18) -> Server:
    """A server in a temporary directory of its own that does not survive a power cut; end it with `stop_for_tests`."""
    directory = Path(tempfile.mkdtemp(prefix="purser-tests-"))
    try:
        started = start(directory / "postgres", version=version, durable=False)
    except BaseException:
        shutil.rmtree(directory)
        raise
    _directories[started.data_dir] = directory
    return started


def stop_for_tests(server: Server) -> None:
    """Stop a server of `start_for_tests` and remove its directory (and the cluster, where it lives outside)."""
    stop(server)
    for place in (_directories.pop(server.data_dir), server.data_dir.parent):
        if place.exists():
            shutil.rmtree(place)


def configure(config: pytest.Config) -> None:
    """For `pytest_configure`: a worker takes over the address that its controller sent."""
    sent: dict[str, Any] | None = getattr(config, "workerinput", {}).get(_WORKER_INPUT)
    if sent is not None:
        config.stash[_SERVER] = Server(**{**sent, "data_dir": Path(sent["data_dir"])})


def configure_node(node: Any) -> None:
    """For xdist's `pytest_configure_node`, in the controller: send the address to a worker that is about to start."""
    shared = server(node.config)
    node.workerinput[_WORKER_INPUT] = {
        "host": shared.host,
        "port": shared.port,
        "data_dir": os.fspath(shared.data_dir),
        "password": shared.password,
    }


def server(config: pytest.Config) -> Server:
    """The run's server, started when first asked for."""
    if _SERVER not in config.stash:
        config.stash[_SERVER] = start_for_tests(version=int(config.getoption("--postgres-version")))
    return config.stash[_SERVER]


def unconfigure(config: pytest.Config) -> None:
    """For `pytest_unconfigure`: the process that started the server stops it and removes it."""
    if _SERVER in config.stash and not hasattr(config, "workerinput"):
        stop_for_tests(config.stash[_SERVER])
        del config.stash[_SERVER]

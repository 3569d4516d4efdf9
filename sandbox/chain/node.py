"""anvil as a child process: started on a port until it answers, asked over JSON-RPC, ended with whoever started it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx

from sandbox.chain.packages import NotHere
from sandbox.parent import die_with_parent

HOST: Final = "127.0.0.1"
CHAIN_ID: Final = 84532
"""Base Sepolia's, so that unmodified clients know the chain and its USDC."""
START_TIMEOUT_S: Final = 20.0
STARTS_MAX: Final = 3
"""A free port may be taken before anvil takes it."""
STOP_TIMEOUT_S: Final = 5.0
CALL_TIMEOUT_S: Final = 15.0


class RpcError(Exception):
    """The node answered with an error; a contract's refusal has its reason in the text."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.code: int = error["code"]
        self.data: Any = error.get("data")


class Node:
    """A node that is spoken to. Every call has a time-out."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, timeout=CALL_TIMEOUT_S, trust_env=False)

    def rpc(self, method: str, *params: Any) -> Any:
        """One JSON-RPC call. Raises `RpcError`, or what httpx raises."""
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = self._http.post("/", json=call).raise_for_status().json()
        if "error" in answer:
            raise RpcError(answer["error"])
        return answer["result"]

    def close(self) -> None:
        """Hang up."""
        self._http.close()


def started(
    binary: Path, options: Sequence[str], *, port: int | None = None, home: Path | None = None
) -> tuple[subprocess.Popen[bytes], str]:
    """A running anvil that answers, and its address; on a free port unless told. Raises `NotHere`.

    It ends with the process that called this, however that dies. `home` is where it may write what it likes.
    """
    for _ in range(STARTS_MAX):
        chosen = port or _free_port()
        process = subprocess.Popen(  # noqa: S603 - the pinned program
            [binary, "--host", HOST, "--port", str(chosen), "--chain-id", str(CHAIN_ID), "--silent", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=None if home is None else {"HOME": str(home)},
            preexec_fn=partial(_tie, os.getpid()),  # noqa: PLW1509 - it calls prctl and nothing else
        )
        if _answers(process, url := f"http://{HOST}:{chosen}"):
            return process, url
        stop(process)
    raise NotHere(f"anvil does not start on this machine, tried {STARTS_MAX} times")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End it, and wait until it has ended."""
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _tie(parent_pid: int) -> None:
    if sys.platform.startswith("linux"):
        die_with_parent(parent_pid)


def _answers(process: subprocess.Popen[bytes], url: str) -> bool:
    asked = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            answer = httpx.post(url, json=asked, timeout=2, trust_env=False).json()
        except httpx.TransportError:
            time.sleep(0.02)
        else:
            return bool(answer["result"] == hex(CHAIN_ID)) and process.poll() is None
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])

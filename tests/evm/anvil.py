"""A real EVM on loopback: anvil from npm, pinned by package-lock.json, one process a test worker.

Node is needed to install it, not to run it. What is installed lies in the user's cache under the lock's hash, so that a
second run, a second worker and a second checkout find it there.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from api.running.children import die_with_parent
from tests.service import HOST, free_port

HERE = Path(__file__).parent
CACHE = Path.home() / ".cache" / "purser" / "evm"
MANIFESTS = ("package.json", "package-lock.json")
CHAIN_ID = 84532  # Base Sepolia's, so that unmodified clients know the chain and its USDC
SLOTS_IN_AN_EPOCH = 8  # `safe` is this many blocks behind the head, `finalized` twice as many
PLATFORMS = {
    ("Linux", "x86_64"): "linux-amd64",
    ("Linux", "aarch64"): "linux-arm64",
    ("Darwin", "x86_64"): "darwin-amd64",
    ("Darwin", "arm64"): "darwin-arm64",
}
INSTALL_TIMEOUT_S = 180.0
LOCK_TIMEOUT_S = 200.0  # longer than an installation, which another worker may just be doing
START_TIMEOUT_S = 10.0
STARTS_MAX = 3  # a free port may be taken before anvil takes it
STOP_TIMEOUT_S = 5.0
CALL_TIMEOUT_S = 15.0


class NotHere(Exception):
    """This machine cannot have the packages; the text says why."""


class RpcError(Exception):
    """The node answered with an error; a contract's refusal has its reason in the text."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.code: int = error["code"]
        self.data: Any = error.get("data")


@dataclass(frozen=True)
class Anvil:
    """A running chain. Amounts are wei, times are seconds, blocks are counted; every call has a time-out."""

    url: str
    pid: int
    _http: httpx.Client

    def rpc(self, method: str, *params: Any) -> Any:
        """One JSON-RPC call; raises `RpcError`."""
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = self._http.post("/", json=call).raise_for_status().json()
        if "error" in answer:
            raise RpcError(answer["error"])
        return answer["result"]

    def block(self, which: str | int = "latest") -> dict[str, Any]:
        """A block by number or tag, without its transactions' bodies."""
        found: dict[str, Any] = self.rpc("eth_getBlockByNumber", which if isinstance(which, str) else hex(which), False)
        return found

    @property
    def height(self) -> int:
        return int(self.rpc("eth_blockNumber"), 16)

    @property
    def now(self) -> int:
        """The time of the newest block; it is ahead of the machine's clock after `increase_time`."""
        return int(self.block()["timestamp"], 16)

    @property
    def unlocked(self) -> list[str]:
        """Accounts that anvil signs for (`eth_sendTransaction`), rich in ether."""
        accounts: list[str] = self.rpc("eth_accounts")
        return accounts

    def mine(self, blocks: int = 1) -> None:
        self.rpc("anvil_mine", hex(blocks))

    def reorg(self, depth: int) -> None:
        """Replace the newest `depth` blocks with as many empty ones; what was in them is gone, not pending."""
        self.rpc("anvil_reorg", depth, [])

    def balance(self, address: str) -> int:
        return int(self.rpc("eth_getBalance", address, "latest"), 16)

    def set_balance(self, address: str, wei: int) -> None:
        self.rpc("anvil_setBalance", address, hex(wei))

    def set_automine(self, automine: bool) -> None:  # noqa: FBT001 - as the RPC method has it
        """Whether every transaction gets a block at once; off, they stay pending until `mine`."""
        self.rpc("evm_setAutomine", automine)

    def increase_time(self, seconds: int) -> None:
        """The next block, mined at once, and all later ones are this much later."""
        self.rpc("evm_increaseTime", hex(seconds))
        self.mine()

    def snapshot(self) -> str:
        snapshot: str = self.rpc("evm_snapshot")
        return snapshot

    def revert(self, snapshot: str) -> None:
        """State, blocks and time as they were; a snapshot can be used once."""
        assert self.rpc("evm_revert", snapshot) is True

    def receipt(self, transaction: str, *, within_s: float = CALL_TIMEOUT_S) -> dict[str, Any]:
        """The receipt of a transaction, as soon as it is in a block."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            found: dict[str, Any] | None = self.rpc("eth_getTransactionReceipt", transaction)
            if found is not None:
                return found
            time.sleep(0.01)
        raise AssertionError(f"{transaction} is in no block after {within_s} s")


@contextmanager
def anvil_running(binary: Path) -> Iterator[Anvil]:
    """A fresh chain with blocks on demand; it ends with the block, or with this process, however that dies."""
    process, url = _started(binary)
    try:
        with httpx.Client(base_url=url, timeout=CALL_TIMEOUT_S, trust_env=False) as client:
            yield Anvil(url=url, pid=process.pid, _http=client)
    finally:
        _stop(process)


def anvil_binary() -> Path:
    """Where the pinned anvil is, installed when needed. Raises `NotHere`."""
    return npm_packages() / _platform_package() / "bin" / "anvil"


def npm_packages() -> Path:
    """The `node_modules` that package-lock.json describes, installed once for all workers. Raises `NotHere`."""
    manifests = b"".join((HERE / name).read_bytes() for name in MANIFESTS)
    place = CACHE / hashlib.sha256(manifests).hexdigest()[:16]
    if not place.exists():
        with _alone():
            if not place.exists():
                _install(place)
    return place / "node_modules"


def _platform_package() -> str:
    machine = (platform.system(), platform.machine())
    if machine not in PLATFORMS:
        raise NotHere(f"npm has no anvil for {' '.join(machine)}")
    return f"@foundry-rs/anvil-{PLATFORMS[machine]}"


@contextmanager
def _alone() -> Iterator[None]:
    """One process of this user at a time; the kernel lets go when it dies."""
    try:
        CACHE.mkdir(parents=True, exist_ok=True)
        lock = (CACHE / "lock").open("w")
    except OSError as error:
        raise NotHere(f"the cache folder cannot be written: {error}") from error
    with lock:
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise NotHere("another process has been installing the packages for minutes") from None
                time.sleep(0.1)
        yield


def _install(place: Path) -> None:
    """Beside the place and then renamed, so that what is there is whole. No script of any package runs.

    The binary is an optional package: npm is content without it when the index lacks it, when the network failed and
    when its hash is not the lock's. Then nothing is kept, so that the next run tries again.
    """
    wanted = _platform_package()
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise NotHere("Node and npm, which install anvil, are not installed")
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=30000"]
    with tempfile.TemporaryDirectory(prefix="install-", dir=CACHE) as folder:
        made = Path(folder) / "made"
        made.mkdir()
        for name in MANIFESTS:
            shutil.copy(HERE / name, made)
        try:
            ran = subprocess.run(
                command, cwd=made, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise NotHere(f"npm did not finish in {INSTALL_TIMEOUT_S:.0f} s") from None
        if ran.returncode != 0:
            said = [line for line in ran.stderr.splitlines() if "error" in line]
            raise NotHere(f"npm could not get the packages ({'; '.join(said[:2]) or ran.returncode})")
        if not (made / "node_modules" / wanted / "bin" / "anvil").exists():
            raise NotHere(f"npm left {wanted} out: the index lacks it, or what it has is not what the lock file pins")
        made.rename(place)


def _started(binary: Path) -> tuple[subprocess.Popen[bytes], str]:
    for _ in range(STARTS_MAX):
        port = free_port()
        process = subprocess.Popen(
            [binary, "--host", HOST, "--port", str(port), "--chain-id", str(CHAIN_ID), "--silent",
             "--slots-in-an-epoch", str(SLOTS_IN_AN_EPOCH)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509 - it calls prctl and nothing else
        )  # fmt: skip
        if _answers(process, url := f"http://{HOST}:{port}"):
            return process, url
        _stop(process)
    raise AssertionError(f"anvil did not start, {STARTS_MAX} times")


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


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

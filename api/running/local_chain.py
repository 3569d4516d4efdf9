"""The sandbox's chain as a child process: fetched, started, waited for until it can be paid on, stopped in the end.

What it tells of itself stands in a file of its folder; the keys in it are of nobody's money.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from api.reasons import CannotGoOn
from api.running.children import end, is_free, module, new_log, persons_environment
from api.settings import Settings

MODULE: Final = "sandbox.chain"
FOLDER: Final = "chain"
FILE: Final = "chain.json"
FILE_BYTES_MAX: Final = 65_536
LOG: Final = "chain.log"
START_TIMEOUT_S: Final = 240.0
"""Longer than npm is given for fetching what is needed, once."""
STOP_TIMEOUT_S: Final = 10.0
GAS_GWEI_PER_HOUR: Final = 10**9
"""Gas is nobody's money either, and the pretend chain asks for higher tips than Base."""
_POLL_S: Final = 0.05


@dataclass(frozen=True)
class LocalChain:
    """What the chain says of itself: addresses, and keys of nobody's money in hex."""

    rpc_url: str
    network: str
    token: str
    treasury: str
    wallet: str
    wallet_key: str = field(repr=False)
    gas_key: str = field(repr=False)


def why_not() -> str | None:
    """Why this machine cannot have the chain; none when it can. Fetches what it needs, which may take minutes once."""
    ended = subprocess.run(  # noqa: S603 - our own module
        module(MODULE, "--fetch"), env=persons_environment(), timeout=START_TIMEOUT_S, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    return None if ended.returncode == 0 else _last_line(ended.stderr)


@contextmanager
def running(data_dir: Path) -> Iterator[LocalChain]:
    """The chain that keeps its blocks below `data_dir`. Raises `CannotGoOn` with the reason."""
    folder = data_dir / FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / FILE).unlink(missing_ok=True)
    with new_log(data_dir / LOG) as log:
        process = subprocess.Popen(  # noqa: S603 - our own module
            module(MODULE, "--folder", str(folder.resolve()), "--die-with-parent"),
            env=persons_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the service, which then stops it in order
        )
    try:
        yield _awaited(process, data_dir)
    finally:
        end(process, within_s=STOP_TIMEOUT_S)


def found(data_dir: Path) -> LocalChain | None:
    """The chain of a service that runs in `data_dir`; none where none runs."""
    with suppress(OSError, ValueError, KeyError):
        told = json.loads((data_dir / FOLDER / FILE).read_bytes()[:FILE_BYTES_MAX])
        chain = LocalChain(**{one.name: told[one.name] for one in fields(LocalChain)})
        address = urlsplit(chain.rpc_url)
        if not is_free(str(address.hostname), int(address.port or 0)):
            return chain
    return None


def with_chain(settings: Settings, chain: LocalChain) -> Settings:
    """Settings of a service that is paid on it."""
    return settings.model_copy(
        update={
            "local_chain": False,  # it is there now
            "x402_network": chain.network,
            "x402_rpc_url": SecretStr(chain.rpc_url),
            "x402_treasury": chain.treasury,
            "x402_gas_key": SecretStr(chain.gas_key),
            "x402_gas_key_file": None,
            "x402_facilitator_url": None,
            "x402_gas_gwei_per_hour": GAS_GWEI_PER_HOUR,
        }
    )


def _awaited(process: subprocess.Popen[bytes], data_dir: Path) -> LocalChain:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        chain = found(data_dir)
        if chain is not None:
            return chain
        if ended:
            reason = _last_line((data_dir / LOG).read_text(encoding="utf-8", errors="replace"))
            raise CannotGoOn(f"The local chain does not start: {reason}. {data_dir / LOG} has the rest.")
        time.sleep(_POLL_S)
    raise CannotGoOn(f"The local chain did not start within {START_TIMEOUT_S:.0f} s; {data_dir / LOG} may say why.")


def _last_line(said: str) -> str:
    return next((line for line in reversed(said.splitlines()) if line.strip()), "it said nothing").rstrip(".")

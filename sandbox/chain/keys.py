"""Who is who on such a chain, remembered in its folder in a file that only its owner can read."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from eth_account import Account

FILE: Final = "keys.json"
FILE_BYTES_MAX: Final = 65_536


@dataclass(frozen=True)
class Key:
    """An account: its address (EIP-55), and its private key in hex."""

    address: str
    private: str = field(repr=False)


@dataclass(frozen=True)
class Keys:
    """Who is paid, who pays for gas, and who has dollars to try it with."""

    treasury: Key
    gas: Key
    wallet: Key


def fresh() -> Key:
    """An account that nobody had before."""
    account = Account.create()
    return Key(str(account.address), "0x" + bytes(account.key).hex())


def recall(folder: Path) -> Keys:
    """Those of the folder, made at random where there are none yet."""
    try:
        noted = json.loads((folder / FILE).read_bytes()[:FILE_BYTES_MAX])
        return Keys(**{name: Key(**noted[name]) for name in ("treasury", "gas", "wallet")})
    except FileNotFoundError:
        made = Keys(fresh(), fresh(), fresh())
        write(folder / FILE, asdict(made))
        return made


def write(file: Path, content: dict[str, Any]) -> None:
    """Write a file that only its owner can read, all or nothing."""
    unfinished = file.with_suffix(f".{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        json.dump(content, opened, indent=1)
    unfinished.rename(file)

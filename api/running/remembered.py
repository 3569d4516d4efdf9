"""What an embedded service remembers between two runs: passwords, the sandbox's secrets and port.

One file below the data directory that only its owner can read. Losing it is harmless: the passwords are made anew at
each start, and the sandbox and its receipts are then signed with new secrets.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

from finance.receipt_signing import SEED_BYTES

FILE: Final = "embedded.json"
FILE_BYTES_MAX: Final = 16_384


def _secret(prefix: str = "") -> Callable[[], str]:
    return lambda: prefix + secrets.token_hex(24)


@dataclass(frozen=True)
class Remembered:
    """Made at random where nothing is remembered yet."""

    migrator_password: str = field(default_factory=_secret(), repr=False)
    service_password: str = field(default_factory=_secret(), repr=False)
    stripe_secret_key: str = field(default_factory=_secret("sk_test_"), repr=False)
    webhook_secret: str = field(default_factory=_secret("whsec_"), repr=False)
    receipt_key: str = field(default_factory=lambda: secrets.token_hex(SEED_BYTES), repr=False)
    sandbox_port: int | None = None


def exists(data_dir: Path) -> bool:
    """Whether a service was embedded here before."""
    return (data_dir / FILE).exists()


def recall(data_dir: Path) -> Remembered:
    """What was remembered in `data_dir`, completed and kept."""
    noted: Any = {}
    with suppress(FileNotFoundError, ValueError), _opened(data_dir / FILE, os.O_RDONLY) as file:
        noted = json.loads(file.read(FILE_BYTES_MAX))
    known = {one.name for one in fields(Remembered)}
    remembered = Remembered(**{name: value for name, value in noted.items() if name in known})
    if asdict(remembered) != noted:
        keep(data_dir, remembered)
    return remembered


def renew_passwords(data_dir: Path) -> Remembered:
    """What is remembered, with new passwords of the database, kept. For whoever has just started that database."""
    renewed = replace(recall(data_dir), migrator_password=_secret()(), service_password=_secret()())
    keep(data_dir, renewed)
    return renewed


def keep(data_dir: Path, remembered: Remembered) -> None:
    """Remember it, all or nothing."""
    # As root the database runs as another user, who has to pass through this folder; the files in it are private.
    data_dir.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    unfinished = data_dir / f"{FILE}.{os.getpid()}"
    unfinished.unlink(missing_ok=True)
    with _opened(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as file:
        file.write(json.dumps(asdict(remembered)))
        file.flush()
        os.fsync(file.fileno())
        owner = data_dir.stat()
        if os.geteuid() == 0:  # root must not lock the folder's owner out
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
    unfinished.rename(data_dir / FILE)


def _opened(path: Path, flags: int) -> Any:
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "r" if flags == os.O_RDONLY else "w", encoding="utf-8")

"""One backup is one file: a first line for people and machines, then SQL, compressed with gzip.

    PURSER-BACKUP {"format": 1, "made_at": "2026-…", "purser": "…", "revision": "…", …, "bytes": …, "sha256": "…"}
    …gzip…

The first line is filled up with spaces to `FIRST_LINE_BYTES`, so that it can be written again when the sum is known.
The sum covers the other facts of that line and all that follows, so a file that is cut off, changed or foreign is
refused before a word of it is believed. It is no signature: whoever can write the file can make the sum anew. The SQL
can be read without us: `tail -n +2 FILE | gunzip`.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, cast

FORMAT: Final = 1
FIRST_LINE_BYTES: Final = 4096
_MAGIC: Final = b"PURSER-BACKUP "
_CHUNK_BYTES: Final = 1 << 20
_ROLES_MAX: Final = 50
"""Roles that the first line has room for."""


class NotABackup(Exception):
    """The file cannot be used; the message says why, for people."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the first line says of the backup, beside its length and sum."""

    purser: str
    """The version that made it."""
    revision: str
    """Of the schema."""
    made_at: str
    """The moment it shows: by the database's clock, ISO 8601, UTC."""
    server: str
    """The server's version, as `18.4`."""
    roles: tuple[str, ...]
    """Roles that have rights in it, beside the one that migrates and those that migrations make."""
    events_read_through: str | None
    """Up to when the provider's list of events had been read; none when it had not been."""


@dataclass(frozen=True)
class Backup:
    """A backup that was read through once and is whole."""

    facts: Facts
    script: IO[bytes]
    """The SQL, from its beginning."""


class _Summed:
    """A file that is written, and its length and sum so far."""

    def __init__(self, file: BinaryIO, facts: Facts) -> None:
        self._file = file
        self.bytes = 0
        self.sum = hashlib.sha256(_canonical(facts))

    def write(self, data: Any) -> int:
        self.bytes += len(data)
        self.sum.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


@contextmanager
def written(target: Path, facts: Facts, *, force: bool) -> Iterator[IO[bytes]]:
    """Where to write the SQL; when the block ends well the file appears, whole, mode 0600, under its name.

    A file of that name stays unless `force`; raises `FileExistsError`. A block that raises leaves nothing behind.
    """
    if not force and target.exists():
        raise FileExistsError(17, "there is a file already (--force overwrites it)", str(target))
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.unfinished")
    try:
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(b" " * (FIRST_LINE_BYTES - 1) + b"\n")
            summed = _Summed(file, facts)
            with gzip.GzipFile(filename="", mode="wb", fileobj=cast("BinaryIO", summed), mtime=0) as packed:
                yield cast("IO[bytes]", packed)
            file.seek(0)
            file.write(_first_line(facts, length=summed.bytes, digest=summed.sum.hexdigest()))
            file.flush()
            os.fsync(file.fileno())
        _name(unfinished, target, force=force)
    finally:
        unfinished.unlink(missing_ok=True)
    _sync_folder(target.parent)


@contextmanager
def opened(path: Path) -> Iterator[Backup]:
    """The backup in this file, proved whole before the block begins. Raises `NotABackup` and `OSError`."""
    with path.open("rb") as file:
        facts = _proved(file, path)
        file.seek(FIRST_LINE_BYTES)
        with gzip.GzipFile(fileobj=file, mode="rb") as script:
            yield Backup(facts, cast("IO[bytes]", script))


def _proved(file: BinaryIO, path: Path) -> Facts:
    line = file.read(FIRST_LINE_BYTES)
    if not line.startswith(_MAGIC):
        raise NotABackup(f"{path} is not a backup of Purser.")
    try:
        said = json.loads(line[len(_MAGIC) :])
        if said["format"] != FORMAT:
            raise NotABackup(f"{path} is a backup of format {said['format']}; this version reads format {FORMAT}.")
        length, digest = int(said["bytes"]), str(said["sha256"])
        facts = Facts(**{name: said[name] for name in Facts.__dataclass_fields__} | {"roles": tuple(said["roles"])})
    except (ValueError, KeyError, TypeError):
        raise NotABackup(f"{path} begins like a backup of Purser, but its first line cannot be read.") from None
    found = os.fstat(file.fileno()).st_size - FIRST_LINE_BYTES
    if found != length:
        raise NotABackup(
            f"{path} is not whole: {found} bytes follow its first line, and {length} should. Copy it again."
        )
    total = hashlib.sha256(_canonical(facts))
    while chunk := file.read(_CHUNK_BYTES):
        total.update(chunk)
    if total.hexdigest() != digest:
        raise NotABackup(f"{path} was changed or damaged: it does not have the SHA-256 that its first line names.")
    return facts


def _first_line(facts: Facts, *, length: int, digest: str) -> bytes:
    line = _MAGIC + json.dumps({"format": FORMAT, **asdict(facts), "bytes": length, "sha256": digest}).encode()
    if len(line) >= FIRST_LINE_BYTES or len(facts.roles) > _ROLES_MAX:
        raise NotABackup("More roles have rights in this database than a backup can name; take them back first.")
    return line.ljust(FIRST_LINE_BYTES - 1) + b"\n"


def _canonical(facts: Facts) -> bytes:
    return json.dumps(asdict(facts), sort_keys=True).encode() + b"\n"


def _name(unfinished: Path, target: Path, *, force: bool) -> None:
    if force:
        unfinished.replace(target)
        return
    try:
        os.link(unfinished, target)  # unlike a rename it never replaces a file that has come meanwhile
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if target.exists():
            raise
        unfinished.rename(target)


def _sync_folder(folder: Path) -> None:
    """The name is as durable as the file."""
    with suppress(OSError):  # not every file system can
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

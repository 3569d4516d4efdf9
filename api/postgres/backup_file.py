r"""One backup is one file: a first line for people and machines, then SQL, compressed with gzip.

    PURSER-BACKUP {"format": 1, "made_at": "2026-…", "purser": "…", "revision": "…", …, "bytes": …, "sha256": "…"}
    …gzip…

The first line is filled up with spaces to `FIRST_LINE_BYTES`, so that it can be written again when the sum is known.
The sum covers the other facts of that line and all that follows, so a file that is cut off, changed or foreign is
refused before a word of it is believed. It is no signature: whoever can write the file can make the sum anew, so facts
are checked to be of their types and printable. The SQL can be read without us: `tail -n +2 FILE | gunzip`.

It is what pg_dump writes: statements, the rows of each table behind a `COPY … FROM stdin;` up to a line `\.`, and two
lines for psql, `\restrict` and `\unrestrict` (https://www.postgresql.org/docs/current/app-psql.html). `parts` takes it
apart, so that it goes to the server without psql, which obeys more than SQL: a line `\! …` runs a shell command, and
in restricted mode `\unrestrict` still runs what stands in backticks behind it (seen in 16.14 and 18.4).
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, cast

FORMAT: Final = 1
FIRST_LINE_BYTES: Final = 4096
_MAGIC: Final = b"PURSER-BACKUP "
_CHUNK_BYTES: Final = 1 << 20
_ROLES_MAX: Final = 50
"""Roles that the first line has room for."""
_TEXT_CHARACTERS_MAX: Final = 200
_STATEMENTS_BYTES_MAX: Final = 16 << 20
"""Of all that stands between the rows of two tables."""
_SERVER: Final = re.compile(r"\d{1,4}(\.\d{1,4})?", re.ASCII)
_NAME: Final = rb'(?:[a-z_][a-z0-9_$]*|"(?:[^"]|"")+")'
_COPY: Final = re.compile(rb"COPY (%b)\.(%b) \((%b(?:, %b)*)\) FROM stdin;\n" % (_NAME, _NAME, _NAME, _NAME))
_FOR_PSQL: Final = re.compile(rb"\\(?:un)?restrict [A-Za-z0-9]+\n")


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


@dataclass(frozen=True)
class Rows:
    """Rows of one table, in the text format of COPY, in pieces; they are read before the next part is asked for."""

    schema: str
    table: str
    columns: tuple[str, ...]
    pieces: Iterator[bytes]


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
    Raises `NotABackup` when the first line cannot hold the facts.
    """
    _first_line(facts, length=2**63, digest="0" * 64)
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
    """The backup in this file, proved whole before the block begins.

    Raises `NotABackup` and `OSError`; the former also out of the block, where the script is no gzip.
    """
    with path.open("rb") as file:
        facts = _proved(file, path)
        file.seek(FIRST_LINE_BYTES)
        with gzip.GzipFile(fileobj=file, mode="rb") as script:
            try:
                yield Backup(facts, cast("IO[bytes]", script))
            except (EOFError, zlib.error, gzip.BadGzipFile):
                raise NotABackup(f"What follows the first line of {path} cannot be unpacked.") from None


def parts(script: IO[bytes]) -> Iterator[str | Rows]:
    """What the script consists of, in order: statements as SQL, and rows. Raises `NotABackup` where it is neither."""
    statements = bytearray()
    while line := script.readline(_STATEMENTS_BYTES_MAX):
        rows = _COPY.fullmatch(line)
        if rows is not None:
            if statements:
                yield _sql(statements)
            statements.clear()
            columns = tuple(_name_said(name) for name in re.findall(_NAME, rows[3]))
            yield Rows(_name_said(rows[1]), _name_said(rows[2]), columns, _pieces(script))
        elif not _FOR_PSQL.fullmatch(line):
            statements += line
        if len(statements) > _STATEMENTS_BYTES_MAX:
            raise NotABackup("The backup holds more statements in a row than pg_dump writes for Purser.")
    if statements:
        yield _sql(statements)


def _pieces(script: IO[bytes]) -> Iterator[bytes]:
    r"""What comes before the next line that is `\.`; a line of data is never that, as COPY doubles its backslashes."""
    gathered, begins_line = bytearray(), True
    while line := script.readline(_CHUNK_BYTES):
        if begins_line and line == b"\\.\n":
            yield bytes(gathered)
            return
        gathered += line
        begins_line = line.endswith(b"\n")
        if len(gathered) >= _CHUNK_BYTES:
            yield bytes(gathered)
            gathered.clear()
    raise NotABackup("The backup ends amid the rows of a table.")


def _sql(statements: bytearray) -> str:
    try:
        return statements.decode()
    except UnicodeDecodeError:
        raise NotABackup("The backup holds statements that are not UTF-8.") from None


def _name_said(name: bytes) -> str:
    return (name[1:-1].replace(b'""', b'"') if name.startswith(b'"') else name).decode(errors="replace")


def _proved(file: BinaryIO, path: Path) -> Facts:
    line = file.read(FIRST_LINE_BYTES)
    if not line.startswith(_MAGIC):
        raise NotABackup(f"{path} is not a backup of Purser.")
    try:
        said = json.loads(line[len(_MAGIC) :])
        if _whole(said["format"]) != FORMAT:
            raise NotABackup(f"{path} is a backup of format {said['format']}; this version reads format {FORMAT}.")
        facts, length, digest = _facts(said), _whole(said["bytes"]), said["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError):
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


def _facts(said: dict[str, Any]) -> Facts:
    """What a first line says; raises ValueError, TypeError or KeyError for what we would never have written."""
    for name in ("purser", "revision", "made_at", "server"):
        _printable(said[name])
    if not isinstance(said["roles"], list) or len(said["roles"]) > _ROLES_MAX:
        raise ValueError("roles")
    if not _SERVER.fullmatch(said["server"]):
        raise ValueError("server")
    for moment in (said["made_at"], said["events_read_through"]):
        if moment is not None and datetime.fromisoformat(_printable(moment)).tzinfo is None:
            raise ValueError("a moment without its zone")
    roles = tuple(_printable(role) for role in said["roles"])
    return Facts(**{name: said[name] for name in Facts.__dataclass_fields__} | {"roles": roles})


def _printable(text: Any) -> str:
    if not isinstance(text, str) or not text.isprintable() or not 0 < len(text) <= _TEXT_CHARACTERS_MAX:
        raise ValueError("no printable text")
    return text


def _whole(number: Any) -> int:
    if type(number) is not int:
        raise TypeError("no whole number")
    return number


def _first_line(facts: Facts, *, length: int, digest: str) -> bytes:
    line = _MAGIC + json.dumps({"format": FORMAT, **asdict(facts), "bytes": length, "sha256": digest}).encode()
    if len(line) >= FIRST_LINE_BYTES or len(facts.roles) > _ROLES_MAX:
        raise NotABackup("More roles have rights in this database than a backup can name; take them back first.")
    try:
        _facts(json.loads(line[len(_MAGIC) :]))
    except ValueError as wrong:
        raise NotABackup(f"No backup can say this of the database ({wrong}): {asdict(facts)!a}") from None
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

"""Writing an export: into a folder, file by file, or as one stream for somebody who takes it over HTTP.

A file stands under its own name only when it is whole, and the manifest is written last: where one stands, all that it
names is there. A folder is of one export: another one is not written over it unasked, and files of the same one may
come to it at any time. What is written is the owner's alone to read: it is everything that the books know.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any, Final

from finance.exporting.files import MANIFEST, File
from finance.exporting.manifest import BYTES_MAX, OtherExport, Written, entries_of, manifest
from finance.exporting.marks import Marked
from finance.exporting.reading import Reading

FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600

Progress = Callable[[str, int], None]
"""Is told the file that is written, and how many rows of it there are so far."""


async def into_folder(
    reading: Reading, files: Iterable[File], folder: Path, progress: Progress, *, force: bool = False
) -> list[Written]:
    """Write files and their manifest into a folder, which is made. Blocks while it writes: for the command line.

    What a manifest of the same export says of other files stays in it. Raises `OtherExport` when the folder is of
    another one, which `force` overrides; `OSError`; and `TotalsDiffer` when debits are not credits: then that file and
    the manifest are not written.
    """
    before = _before(folder, reading.marked, force=force)
    written = []
    for file in files:
        one = Written(file.name)
        part = _Part(folder / file.name)
        try:
            async for chunk in _counted(file, reading, one):
                part.write(chunk)
                progress(file.name, one.counted.rows)
            one.counted.totals()
            part.finish()
        finally:
            part.drop()
        written.append(one)
    said = manifest(reading.marked, written, [entry for entry in before if _stands(folder, entry)])
    last = _Part(folder / MANIFEST)
    last.write(said)
    last.finish()
    return written


async def manifest_chunks(reading: Reading, files: Iterable[File]) -> AsyncIterator[bytes]:
    """The manifest alone; for the hashes in it every file is made, and nothing of it kept."""
    written = []
    for file in files:
        one = Written(file.name)
        async for _ in _counted(file, reading, one):
            pass
        written.append(one)
    yield manifest(reading.marked, written)


async def file_chunks(file: File, reading: Reading) -> AsyncIterator[bytes]:
    """One file. Raises `TotalsDiffer` at its end when debits are not credits, so that it breaks off."""
    one = Written(file.name)
    async for chunk in _counted(file, reading, one):
        yield chunk
    one.counted.totals()


async def _counted(file: File, reading: Reading, one: Written) -> AsyncIterator[bytes]:
    async for chunk in file.chunks(reading, one.counted):
        if chunk:
            one.add(chunk)
            yield chunk


def _before(folder: Path, marked: Marked, *, force: bool) -> list[dict[str, Any]]:
    """What the folder, which is made, has of the same export. Raises `OtherExport`."""
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    try:
        with (folder / MANIFEST).open("rb") as file:
            return entries_of(file.read(BYTES_MAX), marked)
    except FileNotFoundError:
        return []
    except OtherExport:
        if not force:
            raise
        (folder / MANIFEST).unlink()
        return []


def _stands(folder: Path, entry: Mapping[str, Any]) -> bool:
    """Whether the file of an entry is still there, as large as it was."""
    file = folder / Path(entry["name"]).name
    return file.is_file() and file.stat().st_size == entry["bytes"]


class _Part:
    """A file that is being written beside its name."""

    def __init__(self, path: Path) -> None:
        self._path, self._beside = path, path.with_name(f"{path.name}.part")
        self._beside.unlink(missing_ok=True)  # of somebody who was interrupted
        # Made here or not at all: never through a link that somebody else has put there.
        descriptor = os.open(self._beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, FILE_MODE)
        self._sink: IO[bytes] = os.fdopen(descriptor, "wb")

    def write(self, chunk: bytes) -> None:
        self._sink.write(chunk)

    def finish(self) -> None:
        """Give it its name, with all that was written on the disk."""
        self._sink.flush()
        os.fsync(self._sink.fileno())
        self._sink.close()
        self._beside.replace(self._path)

    def drop(self) -> None:
        """Leave nothing beside it."""
        self._sink.close()
        self._beside.unlink(missing_ok=True)

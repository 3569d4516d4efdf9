"""Writing an export: into a folder, file by file, or as one stream for somebody who takes it over HTTP.

A file stands under its own name only when it is whole, and the manifest is written last: where one stands, all that it
names is there.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import IO

from finance.exporting.files import MANIFEST, File
from finance.exporting.manifest import Written, manifest
from finance.exporting.reading import Reading

Progress = Callable[[str, int], None]
"""Is told the file that is written, and how many rows of it there are so far."""


async def into_folder(reading: Reading, files: Iterable[File], folder: Path, progress: Progress) -> list[Written]:
    """Write files and their manifest into a folder, which is made. Blocks while it writes: for the command line.

    Raises `OSError`, and `TotalsDiffer` when debits are not credits; that file and the manifest are then missing.
    """
    _made(folder)
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
    said = manifest(reading.marked, written)
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


def _made(folder: Path) -> None:
    """The folder, without a manifest that speaks of other files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)


class _Part:
    """A file that is being written beside its name."""

    def __init__(self, path: Path) -> None:
        self._path, self._beside = path, path.with_name(f"{path.name}.part")
        self._sink: IO[bytes] = self._beside.open("wb")

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

"""The embedded PostgreSQL that all contenders of a run share, as it serves in production, and databases on it."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import migrations
from api.postgres.connection import ask
from api.postgres.databases import create_database, database_exists, drop_database
from api.postgres.server import Server, start, stop
from api.wiring import async_url

LOGIN: Final = "purser_bench"
_TEMPLATE: Final = "books_template"


@dataclass(frozen=True, slots=True)
class BooksUrls:
    """A migrated database: as the service logs in, and as the superuser."""

    run: str = field(repr=False)
    owner: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Stage:
    """A running server, and the password of the login that posts."""

    server: Server
    password: str = field(repr=False)

    def empty(self, name: str) -> str:
        """A new empty database; its URL, as the superuser."""
        create_database(self.server, name)
        return self.server.url(database=name)

    async def books(self, name: str, *, template: str | None = None) -> BooksUrls:
        """A new database with the books' schema, or a copy of `template`, to which nobody may be connected."""
        if template is None:
            await asyncio.to_thread(self._prepare_template)
        create_database(self.server, name, template=template or _TEMPLATE)
        return self._urls(name)

    def drop(self, name: str) -> None:
        """Remove a database that is not needed any more; its pages leave the caches to the others."""
        drop_database(self.server, name)

    def _prepare_template(self) -> None:
        if database_exists(self.server, _TEMPLATE):
            return
        create_database(self.server, _TEMPLATE)
        migrations.upgrade(async_url(self.server.url(database=_TEMPLATE)))
        ask(self.server.url(), f"CREATE ROLE {LOGIN} LOGIN PASSWORD '{self.password}' IN ROLE purser_run")

    def _urls(self, name: str) -> BooksUrls:
        return BooksUrls(
            run=self.server.url(database=name, user=LOGIN, password=self.password),
            owner=self.server.url(database=name),
        )


@contextmanager
def staged(folder: Path | None = None) -> Iterator[Stage]:
    """A fresh server for the length of the block, in a new folder below `folder`; everything is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="purser-bench-", dir=folder) as made:
        server = start(Path(made) / "postgres")
        try:
            yield Stage(server, secrets.token_hex(16))
        finally:
            stop(server)
            shutil.rmtree(server.data_dir.parent)  # as root the cluster stands outside, where its owner may read it


def filesystem(of: Path) -> str:
    """The kind of file system below `of` (proc_mounts(5)). Raises `RuntimeError` for memory: fsync saves nothing."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    below = [(place, kind) for place, kind in mounts if of.resolve().is_relative_to(place)]
    kind = max(below, key=lambda mount: len(mount[0]))[1] if below else "unknown"
    if kind in {"tmpfs", "ramfs"}:
        raise RuntimeError(f"the folder of PostgreSQL is kept in memory ({kind}); choose another with --folder")
    return kind

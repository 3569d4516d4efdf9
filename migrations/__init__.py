"""Alembic revisions, in `versions/`. `upgrade` brings a database to the newest; SQL stands in files beside a
revision.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory


def _config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["url"] = url
    return config


def upgrade(url: str) -> None:
    """Migrate the database at `url` (`postgresql+asyncpg://…`, as the migrating role) to the newest revision."""
    command.upgrade(_config(url), "head")


def roles() -> str:
    """The SQL that makes the roles where they are missing: for a database that is restored and not migrated."""
    return (Path(__file__).parent / "versions" / "0001_roles.sql").read_text(encoding="utf-8")


def known(revision: str) -> bool:
    """Whether this code has made a database of exactly this revision, and can migrate it."""
    return revision in {script.revision for script in ScriptDirectory.from_config(_config("")).walk_revisions()}


def newest() -> str:
    """The revision that this code expects."""
    head = ScriptDirectory.from_config(_config("")).get_current_head()
    if head is None:
        raise RuntimeError("there are no migrations")
    return head

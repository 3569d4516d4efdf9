"""Create, find and drop databases on a server; `CREATE DATABASE … TEMPLATE` makes a prepared copy in milliseconds.

Blocking, as the superuser. Errors are asyncpg's: `DuplicateDatabaseError`, `InvalidCatalogNameError` (no such
template), `ObjectInUseError` (somebody is connected to the template).
"""

from .connection import ask
from .server import Server

_NAME_BYTES_MAX = 63  # NAMEDATALEN - 1; PostgreSQL would cut a longer name silently


def create_database(server: Server, name: str, *, template: str | None = None, owner: str | None = None) -> None:
    """Make an empty database, or a copy of `template`, that belongs to `owner` (default: the superuser)."""
    statement = f"CREATE DATABASE {_quoted(name)}"
    if template is not None:
        statement += f" TEMPLATE {_quoted(template)}"
    if owner is not None:
        statement += f" OWNER {_quoted(owner)}"
    ask(server.url(), statement)


def drop_database(server: Server, name: str) -> None:
    """Remove the database, if it exists, and end the connections to it."""
    ask(server.url(), f"DROP DATABASE IF EXISTS {_quoted(name)} WITH (FORCE)")


def database_exists(server: Server, name: str) -> bool:
    """Whether the server has a database of this name."""
    return bool(ask(server.url(), "SELECT 1 FROM pg_database WHERE datname = $1", name))


def _quoted(name: str) -> str:
    """The name as an SQL identifier; PostgreSQL takes no parameters in CREATE DATABASE."""
    if not name or "\0" in name or len(name.encode()) > _NAME_BYTES_MAX:
        raise ValueError(f"a database or role name has 1 to {_NAME_BYTES_MAX} bytes, none of them zero")
    return '"' + name.replace('"', '""') + '"'

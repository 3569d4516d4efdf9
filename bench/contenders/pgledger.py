"""pgledger (github pgr0ss/pgledger): its own SQL from a path, or our re-implementation of its shape, marked as such.

Nothing of theirs stands in this repository. The path is a checkout, or its `pgledger.sql` in one: the file that makes
text ids stands beside it, in `vendor`, and is loaded first, as their own command does. The workload is theirs too
(`performance_check`): each worker takes two accounts and any amount below 2^32, one call a transfer, over a pool.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import asyncpg

from bench.measuring.load import SEED, Pick
from bench.measuring.stage import Stage
from bench.rounds import OWN_REIMPLEMENTATION, THEIR_SQL

CONNECTIONS: Final = 20
COMMAND_TIMEOUT_S: Final = 60
AMOUNT_MAX: Final = 2**32 - 1
_OURS: Final = Path(__file__).with_name("row_by_row.sql")
_ULID: Final = "vendor/scoville-pgsql-ulid/uuid-to-ulid.sql"


@dataclass(frozen=True, slots=True)
class _Dialect:
    """How one of the two is spoken to."""

    origin: str
    transfer: str
    account: str
    wrong: str
    """Asks for what does not fit: sums that are not zero, and entries that do not follow from one another."""


_THEIRS: Final = _Dialect(
    origin=THEIR_SQL,
    transfer="SELECT id FROM pgledger_create_transfer($1, $2, $3)",
    account="SELECT id FROM pgledger_create_account('account', 'USD')",
    wrong="""
        SELECT (SELECT sum(balance) FROM pgledger_accounts_view) AS balances,
               (SELECT count(*) FROM pgledger_transfers_view) AS transfers,
               (SELECT count(*) FROM pgledger_entries_view) AS entries""",
)
_OWN: Final = _Dialect(
    origin=OWN_REIMPLEMENTATION,
    transfer="SELECT row_by_row_transfer($1, $2, $3)",
    account="INSERT INTO row_accounts (name, currency) VALUES ('account', 'USD') RETURNING id",
    wrong="""
        SELECT (SELECT sum(balance) FROM row_accounts) AS balances, (SELECT count(*) FROM row_transfers) AS transfers,
               (SELECT count(*) FROM row_entries) AS entries""",
)


@dataclass(slots=True)
class Pgledger:
    """A database in the shape of pgledger, with its accounts and a pool."""

    name: str
    origin: str
    dialect: _Dialect
    pool: Any = field(repr=False)
    accounts: list[str] = field(repr=False)
    done: int = 0
    _draw: random.Random = field(default_factory=lambda: random.Random(SEED))  # noqa: S311 - no secret

    @classmethod
    async def open(cls, stage: Stage, *, accounts: int, path: Path | None) -> Self:
        """Make the database and `accounts` accounts that may be negative, as their check does."""
        dialect = _OWN if path is None else _THEIRS
        url = stage.empty(f"pgledger_{accounts}")
        pool = await asyncpg.create_pool(
            url, ssl=False, min_size=CONNECTIONS, max_size=CONNECTIONS, command_timeout=COMMAND_TIMEOUT_S
        )
        for text in _sql(path):
            await pool.execute(text)
        made = [str(await pool.fetchval(dialect.account)) for _ in range(accounts)]
        name = "pgledger" if path is not None else "pgledger's shape"
        return cls(name, dialect.origin, dialect, pool, made)

    async def transfer(self, source: int, destination: int) -> int:
        """One transfer of any amount between two accounts, by their numbers."""
        amount = self._draw.randint(1, AMOUNT_MAX)
        await self.pool.fetchval(self.dialect.transfer, self.accounts[source], self.accounts[destination], amount)
        self.done += 1
        return 1

    async def between_any(self) -> int:
        """One transfer between two accounts at random: their workload."""
        source, destination = self._draw.sample(range(len(self.accounts)), 2)
        return await self.transfer(source, destination)

    async def between(self, pick: Pick) -> int:
        """One transfer between two accounts as `pick` draws them."""
        source = pick()
        while (destination := pick()) == source:
            continue
        return await self.transfer(source, destination)

    async def into_first(self) -> int:
        """One transfer from any account into the first: everybody pays one."""
        return await self.transfer(self._draw.randrange(1, len(self.accounts)), 0)

    async def bytes(self) -> int:
        """What its tables take, indexes included."""
        return int(
            await self.pool.fetchval(
                "SELECT sum(pg_total_relation_size(relid)) FROM pg_stat_user_tables WHERE schemaname = 'public'"
            )
        )

    async def check(self) -> list[str]:
        """What does not fit: money made or lost, and transfers that are not there."""
        row = await self.pool.fetchrow(self.dialect.wrong)
        found = (int(row["balances"]), row["transfers"], row["entries"])
        expected = (0, self.done, 2 * self.done)
        return [] if found == expected else [f"sum, transfers and entries are {found}, and should be {expected}"]

    async def close(self) -> None:
        """Give the connections back."""
        await self.pool.close()


def _sql(path: Path | None) -> list[str]:
    """The texts to load, in order. Raises `FileNotFoundError` with what is missing."""
    if path is None:
        return [_OURS.read_text(encoding="utf-8")]
    file = path / "pgledger.sql" if path.is_dir() else path
    return [one.read_text(encoding="utf-8") for one in (file.parent / _ULID, file)]

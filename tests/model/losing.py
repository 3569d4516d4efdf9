"""Posting a batch whose answer never comes: the connection breaks after COMMIT and before the reply."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg
import pytest

from ledger.operations import LANE, Operation
from ledger.posting import columns_of, posting_order
from tests.model.proxy import FaultProxy
from tests.model.world import POST

BROKEN = (OSError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError)


async def post_and_lose_the_reply(proxy: FaultProxy, operations: Sequence[Operation]) -> None:
    """The batch is committed, and the caller cannot know it."""
    connection = await asyncpg.connect(proxy.url)
    statement = await connection.prepare(POST)
    lost = proxy.replies_lost
    proxy.lose_reply()
    columns = columns_of(operations[n] for n in posting_order(operations))
    with pytest.raises(BROKEN):
        await statement.fetch(LANE, *columns, True)
    connection.terminate()
    assert proxy.replies_lost == lost + 1

"""Up to where the journal counts: the last operation of each book, kept so that the same question has one answer.

A seal is made by a close and holds the operations that closed the books. For a month that is still open a mark is
taken from one snapshot of all books; whatever is exported under it never changes, because the journal never does.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from finance.tables import Watermark
from ledger.operations import LANE

_MARK: Final = text("""
    INSERT INTO finance.watermark_books (watermark_id, organization_id, seq, head)
    SELECT :watermark, b.organization_id, b.last_seq, b.head FROM ledger.books AS b WHERE b.lane = :lane""")
_BOOKS: Final = text("""
    SELECT w.organization_id, w.seq, w.head FROM finance.watermark_books AS w
    WHERE w.watermark_id = :watermark ORDER BY w.organization_id""")


def hashed_book(organization_id: UUID, seq: int, head: bytes) -> bytes:
    """What a mark's digest, a sha256, takes of each book, sorted by organization.

    16 bytes of the id, 8 bytes of the number, big-endian, and the 32 bytes of the head, without anything between.
    """
    return organization_id.bytes + seq.to_bytes(8, "big") + head


async def take(session: AsyncSession, watermark_id: UUID, *, now: datetime) -> Watermark:
    """Mark where every book stands now: one statement, so one snapshot."""
    connection = await session.connection()
    marked = await connection.execute(_MARK, {"watermark": watermark_id, "lane": LANE})
    return await keep(session, watermark_id, is_seal=False, books=marked.rowcount, now=now)


async def keep(session: AsyncSession, watermark_id: UUID, *, is_seal: bool, books: int, now: datetime) -> Watermark:
    """The mark of books that were written before, with its digest."""
    mark = Watermark(
        id=watermark_id, is_seal=is_seal, books=books, digest=await digest(session, watermark_id), created_at=now
    )
    session.add(mark)
    await session.flush()
    return mark


async def digest(session: AsyncSession, watermark_id: UUID) -> bytes:
    """The digest of the books of a mark, read as a stream."""
    hashed = hashlib.sha256()
    async with (await session.connection()).stream(_BOOKS, {"watermark": watermark_id}) as rows:
        async for organization_id, seq, head in rows:
            hashed.update(hashed_book(organization_id, seq, head))
    return hashed.digest()

"""The ledger, read: accounts, entries, operations, balances at any time; and credits that are given.

An agent reads its own organization's book; an operator names the organization.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from litestar import get, post
from litestar.params import FromPath
from sqlmodel.ext.asyncio.session import AsyncSession

from api.http import fields_ledger as fields
from api.http.authentication import allowed
from api.http.context import AnyRequest, house_of, principal_of
from api.http.envelope import Envelope, answer
from api.http.reading import body_of, query_of
from api.http.routes.describe import POSTING, described
from api.http.views import ledger as views
from billing import grants
from billing.database import snapshot
from billing.refusals import Refusal, Refused
from billing.scopes import Scope
from billing.spending import not_found, on_behalf
from billing.tables import Agent
from ledger import ids, statements
from ledger.outcomes import Outcome
from ledger.tables import Book

EXPIRIES_MAX: Final = 100
"""Expiries that one answer names."""


@post(
    "/v1/grants",
    status_code=200,
    guards=[allowed(Scope.GRANT)],
    opt=described("grants make", body=fields.GrantAsked, refuses=POSTING),
)
async def grant(request: AnyRequest) -> Envelope:
    """Give an organization credits: promotional ones, or a correction. Credits are paid for by quotes alone."""
    asked, house = await body_of(request, fields.GrantAsked), house_of(request)
    behalf = on_behalf(principal_of(request), asked.organization_id)
    operation, posted = await grants.give(
        house.sessions, house.lane, behalf, asked.gift, asked.idempotency_key, now=house.clock()
    )
    return answer(request, views.granted(operation, posted))


@get(
    "/v1/ledger/accounts",
    guards=[allowed(Scope.READ)],
    opt=described("ledger accounts", query=fields.ReadAsked),
)
async def show_accounts(request: AnyRequest) -> Envelope:
    """Every account of the book, as it was last posted, and the head of its journal."""
    asked = query_of(request, fields.ReadAsked)
    async with _reading(request, asked) as (session, book):
        rows = await statements.trial_balance(session, book.organization_id)
    return answer(request, views.accounts(book, rows))


@get(
    "/v1/ledger/entries",
    guards=[allowed(Scope.READ)],
    opt=described("ledger entries", query=fields.EntriesAsked),
)
async def list_entries(request: AnyRequest) -> Envelope:
    """Entries, oldest first: every transfer seen from each of its two accounts.

    A page of a rare account or kind may be empty and still have a `next_cursor`.
    """
    asked = query_of(request, fields.EntriesAsked)
    async with _reading(request, asked) as (session, book):
        found, following = await statements.entries(
            session,
            book.organization_id,
            start=asked.start,
            limit=asked.limit,
            account=asked.account,
            kind=asked.kind,
        )
    return answer(request, views.entries_page(book, found, following))


@get(
    "/v1/ledger/balance",
    guards=[allowed(Scope.READ)],
    opt=described("ledger balance", query=fields.BalanceAsked),
)
async def show_balance(request: AnyRequest) -> Envelope:
    """What could be spent at a time that has passed, or can be now, or at a time to come if nothing is spent till then.

    For now and what is to come: also what expires when. Credits on hold are expected back at the hold's deadline.
    """
    asked, now = query_of(request, fields.BalanceAsked), house_of(request).clock()
    async with _reading(request, asked) as (session, book):
        organization_id = book.organization_id
        if asked.at is not None and asked.at < now:
            found = await statements.balance_at(session, organization_id, asked.at)
            return answer(request, views.balance(book, found, asked.at))
        moment = asked.at or now
        found = await statements.balance(session, organization_id, moment)
        expiring = await statements.expiries(
            session, organization_id, after=now, until=asked.at, limit=EXPIRIES_MAX + 1
        )
    return answer(request, views.balance_ahead(book, found, moment, expiring, limit=EXPIRIES_MAX))


@get(
    "/v1/ledger/operations/{operation_id:str}",
    guards=[allowed(Scope.READ)],
    opt=described("ledger operation", query=fields.ReadAsked),
)
async def show_operation(request: AnyRequest, operation_id: FromPath[str]) -> Envelope:
    """One operation of the journal with its entries, also a refusal that was stored under its key."""
    asked = query_of(request, fields.ReadAsked)
    async with _reading(request, asked) as (session, book):
        try:
            row = await statements.operation(session, book.organization_id, ids.parse("op", operation_id))
        except ids.MalformedId:
            row = None
        if row is None:
            raise Refused(Refusal.NOT_FOUND, "there is no such operation")
        by_agent = await session.get(Agent, (row.organization_id, row.scope)) is not None
    return answer(request, views.operation(row, asking=principal_of(request).id, by_agent=by_agent))


@asynccontextmanager
async def _reading(request: AnyRequest, asked: fields.ReadAsked) -> AsyncIterator[tuple[AsyncSession, Book]]:
    """A look at the book that is asked about, at one moment. Raises `Refused(NOT_FOUND)` when there is none."""
    organization_id = on_behalf(principal_of(request), asked.organization_id).organization_id
    async with snapshot(house_of(request).sessions) as session:
        book = await statements.book_of(session, organization_id)
        if book is None:
            raise not_found(Outcome.BOOK_NOT_FOUND)
        yield session, book


ROUTES: Final[list[Any]] = [grant, show_accounts, list_entries, show_balance, show_operation]

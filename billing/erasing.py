"""Forgetting a person: every place outside the journal where a contact stands, and what comes to stand there instead.

Theory of operation
-------------------
The journal names organizations, agents and operations by their ids and cannot be changed; so does a receipt. A person
is an e-mail address beside them: the contact of agents, the owner of organizations, the reader of links, and whatever
somebody has typed into a text that we keep. Erasing puts a mark in the place of the address, the same everywhere and
made of the record of the erasing, and of nothing else: no hash of the address, which could be guessed.

What is not a person stays: agents keep their tokens, organizations their credits, payments their ids. An owner's
sessions, links and ownership end, so that an agent may name another human. After that the address is unknown here, and
who signs up with it gets nothing of the old organization.

Letters of the payment provider are forgotten first, and elsewhere (`webhooks.forgetting`): which of them are about the
person is told by what is erased here (`traces`). Who is interrupted erases again. Lock order: organization → contact.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, text, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.contact_tables import ClaimRequest, Feedback, Owner, OwnerSession
from billing.operator_actions import PREFIX, Act, Acting, record
from billing.reversal_tables import OperatorAction
from billing.tables import Agent, ExternalPayment, Organization
from ledger.ids import external

ERASED: Final = "erased"
"""What stands in the place of a text that was a person's own."""
_WORDS_KEPT: Final = frozenset({"type", "severity", "confidence", "next_state", "surface"})
"""What feedback says in words of a list; all else is free text."""
_IN_TEXTS: Final = (
    ("billing.jobs", "request", "jsonb"),
    ("billing.jobs", "result", "jsonb"),
    ("billing.jobs", "message", "text"),
    ("billing.webhook_deliveries", "body", "text"),
)
"""Texts of agents and executors that may hold the address: table, column, type. Rows of the person's organizations."""
_AMONG: Final = "organization_id = ANY(CAST(:organizations AS uuid[]))"
_IN_RECORDS: Final = (
    ("billing.operator_actions", "subject", "text"),
    ("billing.operator_actions", "reason", "text"),
    ("billing.operator_actions", "details", "jsonb"),
    ("billing.refund_requests", "reason", "text"),
    ("billing.feedback", "said", "jsonb"),
    ("billing.feedback", "dedupe_key", "text"),
    ("billing.agents", "name", "text"),
    ("billing.agents", "runtime", "text"),
    ("billing.webhook_endpoints", "description", "text"),
    ("finance.closes", "reason", "text"),
    ("finance.closes", "reopen_reason", "text"),
    ("finance.exceptions", "reason", "text"),
    ("finance.exceptions", "here", "jsonb"),
    ("finance.exceptions", "there", "jsonb"),
    ("finance.imports", "name", "text"),
    ("finance.bank_lines", "description", "text"),
    ("finance.bank_lines", "reference", "text"),
)
"""The same of all organizations: somebody may have named the person there, a bank or an operator too."""


@dataclass(frozen=True, slots=True)
class Traces:
    """What belongs to a contact: organizations that it is in or owns, and their payments as the provider names them."""

    organizations: tuple[UUID, ...]
    payments: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased, in rows; `letters` are those of the provider, `texts` those in which somebody had named it."""

    organizations: int
    agents: int
    owners: int
    links: int
    feedback: int
    texts: int
    letters: int

    @property
    def found(self) -> bool:
        """Whether anything stood here of the contact."""
        return any((self.agents, self.owners, self.links, self.texts, self.letters))


async def traces(session: AsyncSession, contact: str) -> Traces:
    """Where the contact (lower case) is known: what letters about it may name."""
    queries: Sequence[Any] = (
        select(Agent.organization_id).where(col(Agent.contact) == contact),
        select(Owner.organization_id).where(col(Owner.contact) == contact),
        select(ClaimRequest.organization_id).where(col(ClaimRequest.contact) == contact),
    )
    found = {one for query in queries for one in (await session.exec(query)).all()}
    payments = select(ExternalPayment.external_id).where(col(ExternalPayment.organization_id).in_(found))
    return Traces(tuple(sorted(found)), tuple((await session.exec(payments)).all()))


async def erase(session: AsyncSession, contact: str, *, letters: int, by: Acting, reason: str, now: datetime) -> Erased:
    """Erase the contact in this transaction and record the act, without the contact; `letters` were forgotten before.

    The record is written also when nothing was found, so the caller rolls back when it is not wanted.
    """
    known = await traces(session, contact)
    await _lock(session, known, contact)
    said = re.sub(pattern(contact), ERASED, reason, flags=re.IGNORECASE)
    action_id = await record(
        session, by, Act.ERASE_CONTACT, organization_id=None, subject=ERASED, reason=said, details={}, now=now
    )
    mark = f"{ERASED}-{external(PREFIX, action_id)}"
    feedback = await _empty_feedback(session, contact)
    agents = await _count(
        session,
        update(Agent)
        .where(col(Agent.contact) == contact)
        .values(contact=None, name=ERASED, runtime=ERASED, discovery_source=None),
    )
    links = await _count(
        session,
        update(ClaimRequest)
        .where(col(ClaimRequest.contact) == contact)
        .values(contact=mark, used_at=func.coalesce(col(ClaimRequest.used_at), now)),
    )
    owners = await _end_owners(session, contact, mark, now)
    texts = await _strike(session, contact, mark, known.organizations)
    erased = Erased(len(known.organizations), agents, owners, links, feedback, texts, letters)
    counts = {name: getattr(erased, name) for name in Erased.__slots__}
    details = {**counts, "organization_ids": [external("org", one) for one in known.organizations]}
    await session.exec(update(OperatorAction).where(col(OperatorAction.id) == action_id).values(details=details))
    return erased


async def _lock(session: AsyncSession, known: Traces, contact: str) -> None:
    """Nobody claims, signs up again or sends a link meanwhile (`billing.claims`)."""
    rows = select(Organization.id).where(col(Organization.id).in_(known.organizations)).order_by(col(Organization.id))
    await session.exec(rows.with_for_update(key_share=True))
    await session.exec(select(func.pg_advisory_xact_lock(func.hashtextextended(f"contact:{contact}", 0))))


async def _end_owners(session: AsyncSession, contact: str, mark: str, now: datetime) -> int:
    whose = select(Owner.id).where(col(Owner.contact) == contact)
    sittings = update(OwnerSession).where(col(OwnerSession.owner_id).in_(whose), col(OwnerSession.ended_at).is_(None))
    await session.exec(sittings.values(ended_at=now))
    owners = update(Owner).where(col(Owner.contact) == contact)
    return await _count(session, owners.values(contact=mark, ended_at=func.coalesce(col(Owner.ended_at), now)))


async def _empty_feedback(session: AsyncSession, contact: str) -> int:
    """What the contact's agents have said: words of lists stay, for statistics."""
    of_agents = select(Agent.id).where(col(Agent.contact) == contact)
    rows = (await session.exec(select(Feedback).where(col(Feedback.agent_id).in_(of_agents)))).all()
    for row in rows:
        row.said = _emptied(row.said)
    await session.flush()
    return len(rows)


def _emptied(said: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value if name in _WORDS_KEPT or not isinstance(value, str | list) else _nothing_of(value)
        for name, value in said.items()
    }


def _nothing_of(value: str | list[Any]) -> str | list[Any]:
    return ERASED if isinstance(value, str) else []


async def _strike(session: AsyncSession, contact: str, mark: str, organizations: Sequence[UUID]) -> int:
    """Put the mark in the place of the address in texts, however it is written; in how many."""
    struck = 0
    for table, column, type_ in (*_IN_TEXTS, *_IN_RECORDS):
        among = f"{_AMONG} AND" if (table, column, type_) in _IN_TEXTS else ""
        # The names are those above, and the address stands in no SQL.
        statement = text(
            f"UPDATE {table} SET {column} = regexp_replace({column}::text, :pattern, :mark, 'gi')::{type_} "  # noqa: S608
            f"WHERE {among} {column}::text ~* :pattern"
        )
        given = {"pattern": pattern(contact), "mark": mark, **({"organizations": list(organizations)} if among else {})}
        struck += await _count(session, statement.bindparams(**given))
    return struck


def pattern(contact: str) -> str:
    """A regular expression for the address, PostgreSQL's and Python's alike.

    It is struck out of a longer one too: in JSON, the letter before it may be the end of an escape.
    """
    return re.escape(contact)


async def _count(session: AsyncSession, statement: Any) -> int:
    done: Any = await session.exec(statement)
    return int(done.rowcount)

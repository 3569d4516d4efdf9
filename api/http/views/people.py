"""Agents, organizations and tokens. Contacts are personal data and are told to nobody but who just sent them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from api.http.views.plain import at, at_or_none, limits
from billing.claim_states import CLAIMED, UNCLAIMED
from billing.identity import Actor, Rotated, SignedUp
from billing.tables import Agent
from billing.wallets import SignedIn
from ledger.ids import external
from ledger.statements import Balance

TOKEN_CLASS: Final = "restricted"  # noqa: S105 - the name of a class of tokens
GRANTS: Final = (
    "credits.read",
    "credits.quote",
    "credits.buy",
    "credits.hold",
    "credits.spend",
    "ledger.read",
    "activity.read",
    "agents.read",
    "agents.invite",
    "agents.revoke",
    "claims.request",
    "feedback.create",
)
SHOWN_ONCE: Final = (
    "hosted restricted token is returned once; store it in the agent runtime secret store and never paste it into "
    "prompts, logs, issues, or product feedback"
)
"""Word for word as the public client knows it: it says the same itself when it has saved the token."""
MADE_NONE: Final = (
    "No token was made, because return_token was not true; without one nobody can act as this agent. Sign up again "
    "with return_token: true."
)


def as_actor(agent_id: UUID, organization_id: UUID, *, claimed: bool) -> dict[str, Any]:
    """The `actor` of an answer. `claimed`: a human owns its organization."""
    return {
        "actor_type": "agent",
        "actor_id": external("agt", agent_id),
        "organization_id": external("org", organization_id),
        "claim_state": _claim_state(claimed=claimed),
    }


def _claim_state(*, claimed: bool) -> str:
    return CLAIMED if claimed else UNCLAIMED


def signed_up(done: SignedUp, *, claimed: bool) -> dict[str, Any]:
    """A new or rotated agent with its token, if one was wanted."""
    agent = done.agent
    return {
        "authenticated": done.token is not None,
        "token": done.token,
        "token_class": TOKEN_CLASS,
        "token_status": "active" if done.token is not None else "not_issued",
        "created": not done.rotated,
        "rotated": done.rotated,
        "old_token_works_until": at_or_none(done.old_tokens_until),
        "agent_id": external("agt", agent.id),
        "organization_id": external("org", agent.organization_id),
        "agent_name": agent.name,
        "runtime": agent.runtime,
        "agent_contact": agent.contact,
        "claim_state": _claim_state(claimed=claimed),
        "storage": {"server": "hash_only"},
    }


def rotated(done: Rotated, actor: Actor) -> dict[str, Any]:
    """The actor's new token, and until when the one that it asked with works."""
    return {
        "token": done.token,
        "token_class": TOKEN_CLASS,
        "token_status": "active",
        "rotated": True,
        "old_token_works_until": at(done.old_tokens_until),
        "agent_id": external("agt", actor.agent_id),
    }


@dataclass(frozen=True, slots=True)
class Wallet:
    """A wallet by its chain (CAIP-2) and its address in EIP-55 letters."""

    network: str
    address: str

    def view(self) -> dict[str, str]:
        """As it stands in an answer."""
        return {"network": self.network, "address": self.address}


def signed_in(done: SignedIn, wallet: Wallet, balance: Balance, *, claimed: bool) -> dict[str, Any]:
    """The agent of the wallet that signed, with its new token; all older ones ended as it was made."""
    agent = done.agent
    return {
        "authenticated": True,
        "token": done.token,
        "token_class": TOKEN_CLASS,
        "token_status": "active",
        "rotated": True,
        "linked": False,
        "agent_id": external("agt", agent.id),
        "organization_id": external("org", agent.organization_id),
        "agent_name": agent.name,
        "runtime": agent.runtime,
        "claim_state": _claim_state(claimed=claimed),
        "storage": {"server": "hash_only"},
        "wallet": wallet.view(),
        "limits": limits(balance),
    }


def linked(actor: Actor, wallet: Wallet) -> dict[str, Any]:
    """The actor's agent, which can come back by the wallet from now on; its token is still the one that it sent."""
    return {
        "authenticated": True,
        "token": None,
        "token_class": TOKEN_CLASS,
        "token_status": "active",
        "rotated": False,
        "linked": True,
        "agent_id": external("agt", actor.agent_id),
        "organization_id": external("org", actor.organization_id),
        "agent_name": actor.agent_name,
        "runtime": actor.runtime,
        "claim_state": _claim_state(claimed=actor.claimed),
        "wallet": wallet.view(),
    }


def signup_warnings(done: SignedUp) -> list[str]:
    """What somebody who signed up must know."""
    warnings = [SHOWN_ONCE if done.token is not None else MADE_NONE]
    if done.contact_known and not done.rotated:
        warnings.append(
            "This contact has signed up before. Its current token was not presented, and an address is no key to "
            "somebody's credits: this is a new agent in a new organization."
        )
    return warnings


def whoami(actor: Actor, *, claim_state: str, claim_request_state: str) -> dict[str, Any]:
    """The agent behind a token, and whether a human owns its organization or was offered to."""
    return {
        "authenticated": True,
        "session_origin": "bearer_token",
        "token_status": "active",
        "token_class": TOKEN_CLASS,
        "token_created_at": at(actor.token_created_at),
        "claim_state": claim_state,
        "claim_request_state": claim_request_state,
        "agent": {
            "agent_id": external("agt", actor.agent_id),
            "agent_name": actor.agent_name,
            "runtime": actor.runtime,
        },
        "organization": {"organization_id": external("org", actor.organization_id)},
        "grants": list(GRANTS),
    }


def agent_view(agent: Agent, actor: Actor) -> dict[str, Any]:
    """One agent as its siblings see it."""
    return {
        "agent_id": external("agt", agent.id),
        "agent_name": agent.name,
        "runtime": agent.runtime,
        "status": "active" if agent.revoked_at is None else "revoked",
        "created_at": at(agent.created_at),
        "revoked_at": at_or_none(agent.revoked_at),
        "is_you": agent.id == actor.agent_id,
    }


def agents_page(agents: Sequence[Agent], actor: Actor, *, limit: int) -> dict[str, Any]:
    """At most `limit` of `agents`, which holds one more when there are more."""
    page = agents[:limit]
    more = len(agents) > limit
    return {
        "agents": [agent_view(agent, actor) for agent in page],
        "next_cursor": external("agt", page[-1].id) if more else None,
    }

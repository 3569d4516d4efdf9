"""Who may do what with whose credits: an agent with its token, or an operator with its key. Pure.

An agent acts in its own organization, for itself, and may read and spend. An operator key belongs to the product
beside the ledger: it names the organization in every request, and what it may do are its scopes. Either's id is the
scope of the operations it asks for, so that its idempotency keys are its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from billing.identity import Actor
from billing.operator_keys import Operator
from billing.scopes import Scope

OF_AGENTS: Final = frozenset({Scope.SPEND, Scope.READ})


@dataclass(frozen=True, slots=True)
class Principal:
    """`id` is that of the agent or of the operator key; `organization_id` is none for an operator."""

    id: UUID
    organization_id: UUID | None
    scopes: frozenset[Scope]

    @property
    def is_agent(self) -> bool:
        """Whether it is an agent."""
        return self.organization_id is not None

    def may(self, scope: Scope) -> bool:
        """Whether it may do what the scope is for. `admin` may do all."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def may_end_hold_of(self, maker: UUID) -> bool:
        """A hold ends by whoever made it, or by `admin`."""
        return maker == self.id or Scope.ADMIN in self.scopes


def principal_of(asking: Actor | Operator) -> Principal:
    """The principal behind a token or a key."""
    if isinstance(asking, Operator):
        return Principal(asking.key_id, None, asking.scopes)
    return Principal(asking.agent_id, asking.organization_id, OF_AGENTS)

"""What the isolation matrix is made of; the routes of operators are in `matrix_spending`, `_ledger` and `_operator`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from billing.refusals import Refusal
from billing.scopes import Scope
from tests.service import Agent, new_key

UNKNOWN = "0" * 26


@dataclass(frozen=True)
class Request:
    """What is sent about an object: `{}` stands for its id, `{key}` for a fresh idempotency key."""

    path: str
    body: dict[str, Any] | None = None
    query: dict[str, Any] | None = None

    def about(self, name: str) -> tuple[str, Any, Any]:
        return self.path.format(name), _filled(self.body, name), _filled(self.query, name)

    def of_operator(self, name: str, organization_id: str) -> tuple[str, Any, Any]:
        """The same as an operator asks it, who names the organization: in the body or its items, or else the query."""
        path, body, query = self.about(name)
        named = {"organization_id": organization_id}
        if body is None:
            return path, None, {**(query or {}), **named}
        if "items" in body:
            return path, {"items": [{**item, **named} for item in body["items"]]}, query
        return path, {**body, **named}, query


def _filled(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {key: _filled(inner, name) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, name) for inner in value]
    return value.format(name, key=new_key()) if isinstance(value, str) else value


@dataclass(frozen=True)
class Private:
    """A route for agents. With `make`, its requests are about an object that the owner made."""

    make: Callable[[Agent], str] | None = None
    unknown: str = ""
    requests: tuple[Request, ...] = ()
    foreign_is_empty: bool = False
    """A list is not refused: it shows nothing of others."""


@dataclass(frozen=True)
class Shared:
    """A route for operators whose key has `scope`, and for agents when that scope is one of theirs.

    `request` is one that succeeds for the agent that made the object (`make`), or for any agent when there is none.
    Every agent of the tests has promotional credits.
    """

    scope: Scope
    request: Request
    make: Callable[[Agent], str] | None = None
    unknown: str = ""
    sibling: Refusal | None = None
    """What another agent of the organization is refused with; none when it is served."""
    operator: Refusal | None = None
    """What an operator with the scope, but not `admin`, is refused with about an agent's object."""
    by_item: bool = False
    """A batch: it is served, and each item is refused for itself."""


@dataclass(frozen=True)
class Keyed:
    """A route for operators alone that is about no organization."""

    scope: Scope


@dataclass(frozen=True)
class OfOperators:
    """A route for operators alone, who see every organization. Keys with `scope` or `also` get past its guard.

    `request` is about something that is not there.
    """

    scope: Scope
    request: Request
    also: Scope | None = None
    refused: Refusal = Refusal.NOT_FOUND
    """What a key that may is refused with, when `request` is to do something or about one thing."""


@dataclass(frozen=True)
class Public:
    """A route that needs no token."""

    status: int = 200
    body: dict[str, Any] | None = None
    named: tuple[tuple[str, str], ...] = ()
    """What stands in its path: names and values."""


Case = Private | Shared | Keyed | OfOperators | Public

"""What an operator key may do."""

from __future__ import annotations

import enum
from collections.abc import Iterable


class Scope(enum.StrEnum):
    """One kind of thing that an operator key may do, for every organization. `admin` implies all the others."""

    SPEND = "spend"
    """Hold, capture, void, extend and spend."""
    GRANT = "grant"
    """Grant credits and refund spends."""
    READ = "read"
    """Read accounts, entries, balances, operations, holds, caps and metrics, and how letters, attempts, refunds and
    debts stand. Neither what stands in a letter nor what operators did."""
    OPERATE = "operate"
    """Set, lift and pause the caps of agents; look at letters and see to them; refund, write off and
    freeze; and read what operators did."""
    ADMIN = "admin"
    """Everything, ending the holds of others included."""


def canonical(scopes: Iterable[Scope]) -> list[str]:
    """The scopes once each and in the order of the list, as they are stored and shown."""
    wanted = set(scopes)
    return [scope.value for scope in Scope if scope in wanted]


def known(stored: Iterable[str]) -> frozenset[Scope]:
    """The scopes behind their names. One that only a newer version knows gives no right here."""
    names = set(stored)
    return frozenset(scope for scope in Scope if scope.value in names)

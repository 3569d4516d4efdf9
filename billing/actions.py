"""A rail's action as it is kept in the row of its request, and back. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rails.rail import Action, CheckoutAction, DepositAction


def stored(action: Action) -> dict[str, Any]:
    """`action` as JSON values; `kind` says which it is."""
    kind = "checkout" if isinstance(action, CheckoutAction) else "deposit"
    return {"kind": kind, **asdict(action), "expires_at": action.expires_at.isoformat()}


def loaded(row: Mapping[str, Any]) -> Action:
    """The action that `stored` wrote."""
    values = {name: value for name, value in row.items() if name != "kind"}
    values["expires_at"] = datetime.fromisoformat(values["expires_at"])
    return CheckoutAction(**values) if row["kind"] == "checkout" else DepositAction(**values)


def object_id(action: Action) -> str:
    """The provider's object that the payer is asked to pay."""
    return action.session_id if isinstance(action, CheckoutAction) else action.payment_intent_id

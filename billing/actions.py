"""A rail's action as it is kept in the row of its request, and back. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from rails.rail import Action, CheckoutAction, DepositAction, X402Action

_KINDS: Final[dict[str, type[Action]]] = {"checkout": CheckoutAction, "deposit": DepositAction, "x402": X402Action}
"""How the row names them: for ever, once it has been written."""
_NAMES: Final = {kind: name for name, kind in _KINDS.items()}


def stored(action: Action) -> dict[str, Any]:
    """`action` as JSON values; `kind` says which it is."""
    return {"kind": _NAMES[type(action)], **asdict(action), "expires_at": action.expires_at.isoformat()}


def loaded(row: Mapping[str, Any]) -> Action:
    """The action that `stored` wrote."""
    values = {name: value for name, value in row.items() if name != "kind"}
    values["expires_at"] = datetime.fromisoformat(values["expires_at"])
    return _KINDS[row["kind"]](**values)


def object_id(action: Action) -> str:
    """The object that the payer is asked to pay: the provider's, or our own where there is no provider."""
    match action:
        case CheckoutAction():
            return action.session_id
        case DepositAction():
            return action.payment_intent_id
        case X402Action():
            return action.object_id

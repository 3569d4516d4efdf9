"""The HTTP calls that answers suggest where the public client has no words for a method. Pure.

They are shown as `method`, `path` and `body`; all but a top-up want the token as a bearer. Words in capitals stand for
what the reader must fill in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from billing.packs import METHODS, Wanted

KEY: Final = "IDEMPOTENCY_KEY"

Call = dict[str, Any]
"""A request as answers show it: `method`, `path` and `body`, which is none when nothing is sent."""


def quote(wanted: Wanted, *, key: str = KEY) -> Call:
    """Quote what is wanted."""
    what = {"pack_id": wanted.pack_id} if wanted.pack_id is not None else {"credits": wanted.credits}
    body = {**what, "payment_method": wanted.payment_method, "idempotency_key": key}
    return {"method": "POST", "path": "/v1/credit-quotes", "body": body}


def buy(method_id: str, quote_id: str, *, key: str) -> Call:
    """Buy a quote; on `x402.exact.usdc` the answer is a 402 until a signed payment comes along."""
    body = {"quote_id": quote_id, "idempotency_key": key}
    return {"method": "POST", "path": METHODS[method_id].purchase_endpoint, "body": body}


def status_of_quote(quote_id: str) -> Call:
    """What became of a quote?"""
    return {"method": "GET", "path": f"/v1/credit-purchases/status?quote_id={quote_id}", "body": None}


def top_up_path(pack_id: str) -> str:
    """Where a pack is bought with one call and no quote, over `x402.exact.usdc`."""
    return f"/v1/x402/top-up/{pack_id}"


def create(body: Mapping[str, Any]) -> Call:
    """Order what `body` says."""
    return {"method": "POST", "path": "/v1/create", "body": dict(body)}


def jobs() -> Call:
    """Which jobs are there? The public client knows only those whose ids it has."""
    return {"method": "GET", "path": "/v1/jobs", "body": None}

"""The sandbox's side of the numbers, read through Stripe's API as anybody could."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

import httpx

from tests.service import STRIPE_KEY

PAGE: Final = 100
PAGES_MAX: Final = 500
TIMEOUT_S: Final = 30.0


def whole_list(url: str, path: str, **query: Any) -> list[dict[str, Any]]:
    """All objects of a list, newest first."""
    found: list[dict[str, Any]] = []
    with httpx.Client(base_url=url, auth=(STRIPE_KEY, ""), timeout=TIMEOUT_S) as client:
        for _ in range(PAGES_MAX):
            behind = {"starting_after": found[-1]["id"]} if found else {}
            answer = client.get(path, params={"limit": PAGE, **query, **behind})
            answer.raise_for_status()
            page = answer.json()
            found += page["data"]
            if not page["has_more"]:
                return found
    raise RuntimeError(f"{path} does not end")


@dataclass(frozen=True)
class Theirs:
    """What the sandbox has at the end."""

    sessions: list[dict[str, Any]]
    intents: list[dict[str, Any]]
    charges: list[dict[str, Any]]
    lines: list[dict[str, Any]]
    events: int

    @classmethod
    def of(cls, url: str) -> Theirs:
        return cls(
            whole_list(url, "/v1/checkout/sessions"),
            whole_list(url, "/v1/payment_intents"),
            whole_list(url, "/v1/charges"),
            whole_list(url, "/v1/balance_transactions"),
            len(whole_list(url, "/v1/events")),
        )

    @property
    def received_cents(self) -> int:
        """What payers paid, tax included: charges that succeeded, and what others brought into the account."""
        ours = sum(int(one["amount"]) for one in self.charges if one["status"] == "succeeded")
        return ours + sum(int(one["amount"]) for one in self.lines if self.is_others(one))

    @property
    def tax_cents(self) -> int:
        paid = (one for one in self.sessions if one["payment_status"] == "paid")
        return sum(int(one["total_details"]["amount_tax"]) for one in paid)

    @property
    def balance_cents(self) -> int:
        return sum(int(one["net"]) for one in self.lines)

    @staticmethod
    def is_others(line: dict[str, Any]) -> bool:
        return bool(line["reporting_category"] == "charge" and line["source"] is None)

    def objects(self) -> Counter[str]:
        """How many pages and deposit intents were made under each number of each attempt (`purser_key`)."""
        made = [*self.sessions, *(one for one in self.intents if one["payment_method_types"] == ["crypto"])]
        return Counter(one["metadata"]["purser_key"] for one in made)

    def charged(self) -> Counter[str]:
        """How often the payer of each quote was charged."""
        by_intent = {one["id"]: one for one in self.intents}
        paid = (by_intent[one["payment_intent"]] for one in self.charges if one["status"] == "succeeded")
        return Counter(one["metadata"]["purser_quote"] for one in paid)

"""What a challenge names us by: stock clients compare it, letter by letter, with the address that they asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from api.http.views import signing_in
from billing.wallets import Challenge
from rails.evm.networks import BASE
from rails.x402.messages import decoded

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
MADE = Challenge("0123456789abcdef" * 2, NOW, NOW + timedelta(minutes=5))


@pytest.mark.parametrize(
    ("public_url", "domain", "uri"),
    [
        ("http://127.0.0.1:8787", "127.0.0.1:8787", "http://127.0.0.1:8787/v1/x402/sign-in"),
        ("https://Purser.Example", "purser.example", "https://purser.example/v1/x402/sign-in"),
        ("https://purser.example:443", "purser.example", "https://purser.example/v1/x402/sign-in"),
        ("http://purser.example:80", "purser.example", "http://purser.example/v1/x402/sign-in"),
        ("https://purser.example:80/ledger", "purser.example:80", "https://purser.example:80/ledger/v1/x402/sign-in"),
        ("http://[::1]:8787", "[::1]:8787", "http://[::1]:8787/v1/x402/sign-in"),
    ],
)
def test_we_are_named_as_clients_write_our_address(public_url: str, domain: str, uri: str) -> None:
    asked = signing_in.asked(MADE, public_url, BASE.caip2, linking=None)
    assert (asked.domain, asked.uri) == (domain, uri)
    assert uri.startswith(signing_in.origin_of(public_url) + "/")


def test_a_challenge_leaves_no_room_for_a_payment() -> None:
    asked = signing_in.asked(MADE, "https://purser.example", BASE.caip2, linking=None)
    required = decoded(signing_in.payment_required(asked), name="PAYMENT-REQUIRED")
    assert (required["accepts"], list(required["extensions"])) == ([], ["sign-in-with-x"])
    info = required["extensions"]["sign-in-with-x"]["info"]
    assert (info["nonce"], info["expirationTime"]) == (MADE.nonce, "2026-11-21T12:05:00.000Z")

"""What the catalog says of `x402.exact.usdc` alone: where it is paid, and how without the public client. Pure."""

from __future__ import annotations

from typing import Any, Final

from api.http import calls
from api.http.commands import QUOTE_ID, Commands, call_of
from billing.packs import X402, NativeTerms, Offer, Wanted
from ledger.money import usd

X402_VERSION: Final = 2
SCHEME: Final = "exact"
CLIENT_LIMIT_CENTS: Final = 100
"""What stock clients pay at most at once: `DEFAULT_MAX_AMOUNT_PER_PAYMENT` of x402 2.25 (Python) and of @x402/fetch."""


def terms_view(terms: NativeTerms | None, offer: Offer, *, most_cents: int) -> dict[str, Any] | None:
    """Where is paid, and which setting lets a stock client pay `most_cents` at once; none when it is not configured."""
    if terms is None:
        return None
    most = f"${usd(most_cents).decimal()}"
    return {
        "version": X402_VERSION,
        "scheme": SCHEME,
        "network": terms.network,
        "asset": terms.asset,
        "pay_to": terms.pay_to,
        "max_timeout_seconds": terms.timeout_s,
        "client_spend_limit": {
            "default_usd": usd(CLIENT_LIMIT_CENTS).decimal(),
            "packs_within": [pack.pack_id for pack in offer.packs if pack.price_cents <= CLIENT_LIMIT_CENTS],
            "lifted_by": {
                "python": f'client.set_spend_controls({{"max_amount_per_payment": "{most}"}})',
                "javascript": f'client.setSpendControls({{ maxAmountPerPayment: "{most}" }})',
            },
        },
    }


def recovery(offer: Offer, commands: Commands, *, is_preferred: bool) -> dict[str, Any]:
    """How to pay: the cheapest pack with one call of an x402 client, or a quote, its purchase and status over HTTP.

    The public client's guide puts its own commands for deposits where the row that it prefers has none. Only there is
    a command of its own given instead, which shows this row; in any other place it would change the guide.
    """
    shown = dict.fromkeys(("quote_command", "purchase_command", "status_command"), commands.methods())
    cheapest = min(offer.packs, key=lambda pack: pack.price_cents)
    return {
        "top_up_url": top_up_url(commands.public_url, cheapest.pack_id),
        "quote_request": call_of(commands.quote(Wanted(None, offer.default_pack_id, X402.method_id))),
        "purchase_request": call_of(commands.buy(method_id=X402.method_id)),
        "status_request": calls.status_of_quote(QUOTE_ID),
        **(shown if is_preferred else {}),
    }


def top_up_url(public_url: str, pack_id: str) -> str:
    """The address that an x402 client posts to, to buy a pack with one call."""
    return public_url + calls.top_up_path(pack_id)

"""The account's balance: transactions, fees, and the sums (https://docs.stripe.com/api/balance_transactions).

Fees are the published US prices: cards 2.9 % + 30 cents, stablecoins 1.5 % (https://stripe.com/pricing). All amounts
in minor units; halves of a cent round up.
"""

from sandbox import errors, ids, paging
from sandbox.fixtures import start_from
from sandbox.state import Call, Json, World

AVAILABLE_AFTER_S = 2 * 24 * 3600
"""Payouts of US accounts follow after two business days (https://docs.stripe.com/payouts#payout-speed)."""


def card_fee(amount: int) -> int:
    """2.9 % + 30 cents, in cents."""
    return (amount * 29 + 500) // 1000 + 30


def crypto_fee(amount: int) -> int:
    """1.5 %, in cents."""
    return (amount * 15 + 500) // 1000


def book(
    world: World,
    *,
    amount: int,
    fee: int,
    kind: str,
    category: str,
    source: str | None,
    currency: str,
    description: str = "",
) -> Json:
    """Make one transaction, `net` = `amount` − `fee`; `kind` is Stripe's `type`, `category` its reporting category."""
    details = [
        {"amount": fee, "application": None, "currency": currency, "description": "Stripe fee", "type": "stripe_fee"}
    ]
    transaction = start_from(
        "balance_transaction",
        id=ids.new("txn"),
        amount=amount,
        fee=fee,
        net=amount - fee,
        fee_details=details if fee else [],  # of a fee given back too: its amount is negative
        created=world.created(),
        available_on=world.created() + (AVAILABLE_AFTER_S if category == "charge" else 0),
        currency=currency,
        description=description or None,
        reporting_category=category,
        source=source,
        status="pending" if category == "charge" else "available",
        type=kind,
    )
    world.store.put("balance_transaction", transaction["id"], transaction)
    return transaction


def retrieved(world: World, call: Call) -> Json:
    """`GET /v1/balance_transactions/{id}`."""
    transaction = world.store.get("balance_transaction", call.identifier)
    if transaction is None:
        raise errors.missing_resource("balance transaction", call.identifier)
    return transaction


def listed(world: World, call: Call) -> Json:
    """`GET /v1/balance_transactions`; `payout` lists an automatic payout's contents, its own transaction included."""
    wanted = call.params
    contents: set[str] = set()
    if "payout" in wanted:
        payout = world.store.get("payout", wanted["payout"])
        if payout is None:
            raise errors.missing_resource("payout", wanted["payout"], "payout")
        if not payout["automatic"]:
            message = "Balance transaction history can only be filtered on automatic transfers, not manual."
            raise errors.wrong_state(message, param="payout")
        contents = set((world.store.get("payout_contents", payout["id"]) or {"transactions": []})["transactions"])

    def fits(transaction: Json) -> bool:
        return (
            ("payout" not in wanted or transaction["id"] in contents)
            and wanted.get("source", transaction["source"]) == transaction["source"]
            and wanted.get("type", transaction["type"]) == transaction["type"]
            and wanted.get("currency", transaction["currency"]) == transaction["currency"]
        )

    return paging.page(world, call, kind="balance_transaction", url="/v1/balance_transactions", fits=fits)


def sums(world: World, call: Call) -> Json:  # noqa: ARG001 - every route has the same signature
    """`GET /v1/balance` (https://docs.stripe.com/api/balance): net sums, available and still pending."""
    found = {"available": 0, "pending": 0}
    for transaction in world.store.newest_first("balance_transaction"):
        over = transaction["status"] == "available" or transaction["available_on"] <= world.created()
        found["available" if over else "pending"] += transaction["net"]
    parts = {
        state: [{"amount": amount, "currency": "usd", "source_types": {"card": amount}}]
        for state, amount in found.items()
    }
    return start_from("balance", **parts)

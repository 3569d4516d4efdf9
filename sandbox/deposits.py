"""Crypto deposit mode, and the pretend chain that pays it.

https://docs.stripe.com/payments/deposit-mode-stablecoin-payments: one address a PaymentIntent and network, exact
amounts only (101 cents are 1 010 000 atomic USDC); anything else sent there is taken by the chain and matched with
nothing. `requires_action` → `processing` → `succeeded`, or back to `requires_payment_method`. An intent made with
`amount_reconciliation[type]=accept_partial_funding` takes its first transfer whatever its amount, in whole cents.
"""

from sandbox import charges, errors, ids, intents, jobs
from sandbox.errors import Refusal
from sandbox.state import NOBODY, Call, Cause, Json, World

USDC_ON_BASE = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"
TOKENS = ("usdc",)
ATOMIC_PER_CENT = 10_000
"""USDC has six decimals."""
HASH_SUCCEEDS = "0x00000000000000000000000000000000000000000000000000000testsuccess"
HASH_FAILS = "0x000000000000000000000000000000000000000000000000000000testfailed"
"""The only two hashes that Stripe's test helper takes."""
NOT_RECEIVED = Refusal(402, "The payment could not be matched.", code="payment_intent_payment_attempt_failed")


def is_asked_for(params: Json) -> bool:
    """Whether a create request is about crypto at all."""
    return bool(params.get("payment_method_data", {}).get("type") == "crypto" or _options(params))


def create(world: World, call: Call) -> Json:
    """An intent that waits for one exact transfer of USDC to an address of its own."""
    _check(call.params)
    network = "base"
    intent = intents.open_intent(
        world,
        call.params,
        call.cause,
        allowed_payment_method_types=["crypto"],
        automatic_payment_methods=None,
        payment_method=ids.new("pm"),
        payment_method_options={"crypto": _options(call.params)},
        payment_method_types=["crypto"],
    )
    address = ids.deposit_address(intent["id"], network)
    world.store.put("deposit_address", address, {"id": address, "network": network, "payment_intent": intent["id"]})
    return intents.require_action(world, intent, _display_details(network, address), cause=call.cause)


def simulate(world: World, call: Call) -> Json:
    """Stripe's test helper `simulate_crypto_deposit`: two magic hashes, any other is rejected."""
    params, intent = call.params, world.store.get("payment_intent", call.identifier)
    if intent is None:
        raise errors.missing_resource("payment_intent", call.identifier, "intent")
    if params["transaction_hash"] not in (HASH_SUCCEEDS, HASH_FAILS):
        message = "Invalid transaction_hash: use one of the test transaction hashes to simulate a crypto deposit."
        raise errors.invalid("transaction_hash", message)
    if not _is_open(intent):
        message = f"This PaymentIntent's status is {intent['status']}; it does not wait for a crypto deposit."
        raise errors.wrong_state(message, "payment_intent_unexpected_state")
    kind = "settle_deposit" if params["transaction_hash"] == HASH_SUCCEEDS else "fail_deposit"
    details = _transfer_details(
        params["network"], params["token_currency"], params.get("buyer_wallet"), params["transaction_hash"]
    )
    return _detected(world, intent, kind, details, call.cause)


def transfer(
    world: World, *, network: str, token_currency: str, to: str, amount_atomic: int, sender: str | None = None
) -> Json:
    """A wallet sends a token: the chain takes it in any case; an open intent only what its reconciliation allows."""
    row: Json = {
        "id": ids.new("wtr"),
        "created": world.created(),
        "network": network,
        "token_currency": token_currency,
        "to": to.lower(),
        "from": sender or ids.deposit_address(ids.new("wallet"), network),
        "amount_atomic": str(amount_atomic),
        "transaction_hash": ids.transaction_hash(),
    }
    owner = world.store.get("deposit_address", row["to"])
    intent = world.store.get("payment_intent", owner["payment_intent"]) if owner else None
    reason = _why_unmatched(intent, network, token_currency, amount_atomic)
    row |= {"matched": reason is None, "reason": reason, "payment_intent": intent["id"] if intent else None}
    world.store.put("wallet_transfer", row["id"], row)
    if intent is not None and reason is None:
        details = _transfer_details(network, token_currency, row["from"], row["transaction_hash"])
        if _takes_any_amount(intent):
            received = amount_atomic // ATOMIC_PER_CENT
            details |= {"amount_requested": intent["amount"], "amount_received": received}
            if received < intent["amount"]:
                intent = intents.fund_partially(world, intent)
        _detected(world, intent, "settle_deposit", details, NOBODY)
    return row


def settle(world: World, intent_id: str, details: Json, overrides: Json | None = None) -> Json | None:
    """The funds settled on chain; nothing happens when the intent is no longer waiting for them."""
    intent = world.store.get("payment_intent", intent_id)
    if intent is None or intent["status"] not in ("processing", "requires_action"):
        return None
    jobs.forget(world, "settle_deposit", intent_id)
    came = {"amount_received": details["amount_received"]} if "amount_received" in details else {}
    return intents.succeed(world, intent, charges.crypto_details(**details), overrides={**came, **(overrides or {})})


def fail(world: World, intent_id: str) -> Json | None:
    """The funds could not be taken."""
    intent = world.store.get("payment_intent", intent_id)
    if intent is None or intent["status"] not in ("processing", "requires_action"):
        return None
    jobs.forget(world, "settle_deposit", intent_id)
    return intents.fail(world, intent, NOT_RECEIVED)


def invented_transfer() -> Json:
    """Details of a transfer nobody made, for the control that settles an intent by hand."""
    return _transfer_details("base", "usdc", ids.deposit_address(ids.new("wallet"), "base"), ids.transaction_hash())


def _detected(world: World, intent: Json, kind: str, details: Json, cause: Cause) -> Json:
    intent = intents.process(world, intent, cause=cause)
    jobs.later(world, world.config.settle_delay_s, kind, intent["id"], **details)
    return intent


def _why_unmatched(intent: Json | None, network: str, token_currency: str, amount_atomic: int) -> str | None:
    if intent is None:
        return "unknown_address"
    if network != "base":
        return "wrong_network"
    if token_currency not in TOKENS:
        return "wrong_token"
    if not _is_open(intent):
        return "intent_not_open"
    if _takes_any_amount(intent):
        return None if amount_atomic >= ATOMIC_PER_CENT else "wrong_amount"
    return None if amount_atomic == intent["amount"] * ATOMIC_PER_CENT else "wrong_amount"


def _takes_any_amount(intent: Json) -> bool:
    reconciliation = intent["payment_method_options"]["crypto"].get("amount_reconciliation", {})
    return bool(reconciliation.get("type") == "accept_partial_funding")


def _is_open(intent: Json) -> bool:
    action = intent["next_action"] or {}
    return intent["status"] == "requires_action" and action.get("type") == "crypto_display_details"


def _transfer_details(network: str, token_currency: str, buyer: str | None, transaction_hash: str) -> Json:
    return {
        "buyer": buyer,
        "network": network,
        "token_currency": token_currency,
        "transaction_hash": transaction_hash,
    }


def _display_details(network: str, address: str) -> Json:
    tokens = [{"token_currency": "usdc", "token_contract_address": USDC_ON_BASE}]
    addresses = {network: {"address": address, "supported_tokens": tokens}}
    return {"type": "crypto_display_details", "crypto_display_details": {"deposit_addresses": addresses}}


def _options(params: Json) -> Json:
    options: Json = params.get("payment_method_options", {}).get("crypto", {})
    return options


def _check(params: Json) -> None:
    options = _options(params)
    if options.get("mode") != "deposit":
        raise errors.not_played("crypto payments whose payment_method_options[crypto][mode] is not deposit")
    if params.get("payment_method_data", {}).get("type") != "crypto":
        raise errors.missing_parameter("payment_method_data[type]")
    if params.get("confirm") is not True:
        raise errors.not_played("crypto deposits without confirm=true")
    if "deposit_options" not in options:
        raise errors.missing_parameter("payment_method_options[crypto][deposit_options]")
    if options["deposit_options"]["networks"] != ["base"] or options["deposit_options"].get("static_address"):
        raise errors.not_played("deposit options other than networks[]=base")
    for name in ("allowed_payment_method_types", "payment_method_types"):
        if params.get(name, ["crypto"]) != ["crypto"]:
            raise errors.invalid(name, f"{name} must contain the type of payment_method_data, crypto, only.")

"""Reads, out of the installed stripe package, which parameters its pinned version knows, route by route.

`sandbox/known_parameters.json` is what `tree_of_all()` returned for stripe 16.1.0; a test compares the two, so that
the sandbox (which may not import `stripe`) can never know more or fewer parameters than the client that talks to it.
Run as a program, it prints that file.
"""

import decimal
import importlib
import json
import sys
import types
from collections.abc import Mapping
from typing import Any, Literal, NotRequired, Optional, Union, get_args, get_origin

import stripe
from stripe._request_options import RequestOptions
from typing_extensions import get_type_hints, is_typeddict

ROUTES: dict[str, tuple[str, str]] = {
    "account.retrieve": ("_account_retrieve_current_params", "AccountRetrieveCurrentParams"),
    "balance.retrieve": ("_balance_retrieve_params", "BalanceRetrieveParams"),
    "balance_transactions.list": ("_balance_transaction_list_params", "BalanceTransactionListParams"),
    "balance_transactions.retrieve": ("_balance_transaction_retrieve_params", "BalanceTransactionRetrieveParams"),
    "charges.list": ("_charge_list_params", "ChargeListParams"),
    "charges.retrieve": ("_charge_retrieve_params", "ChargeRetrieveParams"),
    "checkout.sessions.create": ("checkout._session_create_params", "SessionCreateParams"),
    "checkout.sessions.expire": ("checkout._session_expire_params", "SessionExpireParams"),
    "checkout.sessions.line_items": ("checkout._session_line_item_list_params", "SessionLineItemListParams"),
    "checkout.sessions.list": ("checkout._session_list_params", "SessionListParams"),
    "checkout.sessions.retrieve": ("checkout._session_retrieve_params", "SessionRetrieveParams"),
    "disputes.close": ("_dispute_close_params", "DisputeCloseParams"),
    "disputes.list": ("_dispute_list_params", "DisputeListParams"),
    "disputes.retrieve": ("_dispute_retrieve_params", "DisputeRetrieveParams"),
    "events.list": ("_event_list_params", "EventListParams"),
    "events.retrieve": ("_event_retrieve_params", "EventRetrieveParams"),
    "payment_intents.cancel": ("_payment_intent_cancel_params", "PaymentIntentCancelParams"),
    "payment_intents.create": ("_payment_intent_create_params", "PaymentIntentCreateParams"),
    "payment_intents.list": ("_payment_intent_list_params", "PaymentIntentListParams"),
    "payment_intents.retrieve": ("_payment_intent_retrieve_params", "PaymentIntentRetrieveParams"),
    "payouts.list": ("_payout_list_params", "PayoutListParams"),
    "payouts.retrieve": ("_payout_retrieve_params", "PayoutRetrieveParams"),
    "radar.early_fraud_warnings.list": (
        "radar._early_fraud_warning_list_params",
        "EarlyFraudWarningListParams",
    ),
    "radar.early_fraud_warnings.retrieve": (
        "radar._early_fraud_warning_retrieve_params",
        "EarlyFraudWarningRetrieveParams",
    ),
    "refunds.create": ("_refund_create_params", "RefundCreateParams"),
    "refunds.list": ("_refund_list_params", "RefundListParams"),
    "refunds.retrieve": ("_refund_retrieve_params", "RefundRetrieveParams"),
    "webhook_endpoints.create": ("_webhook_endpoint_create_params", "WebhookEndpointCreateParams"),
    "webhook_endpoints.delete": ("_webhook_endpoint_delete_params", "WebhookEndpointDeleteParams"),
    "webhook_endpoints.list": ("_webhook_endpoint_list_params", "WebhookEndpointListParams"),
    "webhook_endpoints.retrieve": ("_webhook_endpoint_retrieve_params", "WebhookEndpointRetrieveParams"),
    "webhook_endpoints.update": ("_webhook_endpoint_update_params", "WebhookEndpointUpdateParams"),
}
"""The sandbox's name of a route → module and class of its parameters in `stripe.params`."""

OPTIONS = frozenset(RequestOptions.__annotations__)
"""What `RequestOptions` mixes into those classes: options of the client, never sent as parameters."""

NAMES_OF_OPTIONS = {
    "StripeContext": stripe.StripeContext,
    "Mapping": Mapping,
    "Optional": Optional,
    "Union": Union,
    "Any": Any,
}
"""What the annotations of those options name and some of the modules do not import."""

SCALARS = {int: "integer", bool: "boolean", float: "number", str: "string", decimal.Decimal: "string"}


def tree_of_all() -> dict[str, Any]:
    """Route name → tree: a dict (`!` marks required names), `["list", …]`, `["enum", […]]`, or a scalar's name."""
    trees = {}
    for route, (module, name) in ROUTES.items():
        trees[route] = tree_of(getattr(importlib.import_module(f"stripe.params.{module}"), name))
    return trees


def tree_of(annotation: Any) -> Any:
    """The tree of one annotation of a parameter class."""
    if is_typeddict(annotation):
        return _tree_of_class(annotation)
    if annotation in SCALARS:
        return SCALARS[annotation]
    origin = _origin(annotation)
    if origin is NotRequired:
        return tree_of(get_args(annotation)[0])
    if origin is list:
        return ["list", tree_of(get_args(annotation)[0])]
    if origin is Literal:
        return ["enum", sorted(str(value) for value in get_args(annotation))]
    if origin is dict:
        return "map"
    if origin in (Union, types.UnionType):
        return _tree_of_union(get_args(annotation))
    raise TypeError(f"unknown annotation {annotation!r}")


def _origin(annotation: Any) -> Any:
    return get_origin(annotation)


def _tree_of_class(params: Any) -> dict[str, Any]:
    hints = get_type_hints(params, localns=NAMES_OF_OPTIONS, include_extras=True)
    return {
        name if _origin(hint) is NotRequired else f"{name}!": tree_of(hint)
        for name, hint in sorted(hints.items())
        if name not in OPTIONS
    }


def _tree_of_union(choices: tuple[Any, ...]) -> Any:
    """`Literal[…] | str` is an enumeration; `Literal[''] | X` is X that may be unset; a dict beats what is left."""
    trees = [tree_of(choice) for choice in choices if "StripeObject" not in repr(choice)]
    trees = [tree for tree in trees if tree != ["enum", [""]]] or ["string"]
    if "map" in trees:
        return "map"
    enums = [tree for tree in trees if isinstance(tree, list) and tree[0] == "enum"]
    if enums:
        return enums[0]
    if len(trees) == 1:
        return trees[0]
    return ["either", *trees]


def as_text(trees: dict[str, Any]) -> str:
    """The file's text: one route a line, so that a change of the pinned version reads as a short diff."""
    lines = ",\n".join(f"{json.dumps(route)}: {json.dumps(tree)}" for route, tree in trees.items())
    return "{\n" + lines + "\n}\n"


if __name__ == "__main__":
    sys.stdout.write(as_text(tree_of_all()))

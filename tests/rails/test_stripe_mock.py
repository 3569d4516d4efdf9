"""The outgoing calls against Stripe's own `stripe-mock`, which validates them by Stripe's OpenAPI specification.

The binary is looked for and not built here. The specification that it embeds may be older than the API version we pin.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rails import stripe_objects
from rails.money import RefundOrder
from rails.rail import Order, ProviderRefused
from rails.stripe_checkout import messages
from rails.stripe_door import API_VERSION, StripeDoor

pytestmark = pytest.mark.asyncio

BINARY = shutil.which("stripe-mock") or shutil.which(Path.home() / ".cache/purser/bin/stripe-mock")
NEWER_THAN_SPEC = "allowed_payment_method_types"
"""On sessions since 2026-09-30; the published specification that can be built with is of August."""


@pytest.fixture(scope="module")
def stripe_mock() -> Iterator[str]:
    """The address of a `stripe-mock` on loopback, on a port that it chose."""
    if BINARY is None:
        pytest.skip("NOT RUN: no stripe-mock binary on PATH or in ~/.cache/purser/bin (it is built with Go)")
    # Both addresses are named, because it would open the other one to all interfaces.
    command = [BINARY, "-http-addr", "127.0.0.1:0", "-https-addr", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://{_listening_at(process.stdout)}"
        finally:
            process.kill()


def _listening_at(lines: Iterable[str]) -> str:
    for line in lines:
        if address := re.search(r"Listening for HTTP at address: (\S+)", line):
            return address[1]
    pytest.fail("stripe-mock ended before it listened")


@pytest.fixture
def at(stripe_mock: str, door: Callable[[str], StripeDoor]) -> StripeDoor:
    return door(stripe_mock)


async def test_session_of_an_order_is_valid_by_stripes_specification(at: StripeDoor, order: Order) -> None:
    request = messages.request(order, api_version=API_VERSION)
    parameters = json.loads(request.parameters)
    try:
        created = await at.create_checkout_session(parameters, request.provider_key, request.api_version)
    except ProviderRefused:
        # Whatever else the specification did not know would be refused again.
        del parameters[NEWER_THAN_SPEC]
        created = await at.create_checkout_session(parameters, request.provider_key, request.api_version)
    assert created["object"] == "checkout.session"
    assert messages.action(created) is not None


async def test_parameter_that_stripe_does_not_know_is_refused(at: StripeDoor, order: Order) -> None:
    parameters = json.loads(messages.request(order, api_version=API_VERSION).parameters)
    del parameters[NEWER_THAN_SPEC]
    with pytest.raises(ProviderRefused):
        await at.create_checkout_session({**parameters, "payable_until": 1}, "cs:payatt_1:1", API_VERSION)


@pytest.mark.parametrize(
    ("name", "arguments", "kind"),
    [
        ("retrieve_checkout_session", ["cs_test_1"], "checkout.session"),
        ("expire_checkout_session", ["cs_test_1"], "checkout.session"),
        ("retrieve_payment_intent", ["pi_1"], "payment_intent"),
        ("cancel_payment_intent", ["pi_1"], "payment_intent"),
        ("retrieve_booked_payment_intent", ["pi_1"], "payment_intent"),
        ("retrieve_refund", ["re_1"], "refund"),
        ("retrieve_dispute", ["dp_1"], "dispute"),
        ("retrieve_early_fraud_warning", ["issfr_1"], "radar.early_fraud_warning"),
        ("retrieve_payout", ["po_1"], "payout"),
    ],
)
async def test_call_is_valid_by_stripes_specification(
    at: StripeDoor, name: str, arguments: list[str], kind: str
) -> None:
    answer: dict[str, Any] = await getattr(at, name)(*arguments)
    assert answer["object"] == kind


async def test_sessions_of_an_intent_and_the_probe_are_valid_by_stripes_specification(at: StripeDoor) -> None:
    [session, *_] = await at.checkout_sessions_of_payment_intent("pi_1")
    assert session["object"] == "checkout.session"
    await at.probe()
    assert not at.health.probe_due(at._clock())


async def test_refund_is_valid_by_stripes_specification(at: StripeDoor) -> None:
    order = RefundOrder("org_1", "payatt_1", "refund:payatt_1:1", "pi_1", 200)
    parameters = json.loads(stripe_objects.refund_parameters(order))
    created = await at.create_refund(parameters, order.provider_key, API_VERSION)
    assert created["object"] == "refund"
    with pytest.raises(ProviderRefused):
        await at.create_refund({**parameters, "because": "of a typing mistake"}, order.provider_key, API_VERSION)


@pytest.mark.parametrize("after", [None, "cursor_1"])
async def test_every_list_is_valid_by_stripes_specification(at: StripeDoor, now: datetime, after: str | None) -> None:
    day = (now - timedelta(days=1), now)
    pages = [
        await at.checkout_sessions_created(*day, after),
        await at.payment_intents_created(*day, after, API_VERSION),
        await at.refunds_of_payment_intent("pi_1", after),
        await at.transactions_of_payout("po_1", after),
        await at.events(created_gte=day[0], created_lt=day[1], after=after),
    ]
    kinds = [page.items[0]["object"] for page in pages]
    assert kinds == ["checkout.session", "payment_intent", "refund", "balance_transaction", "event"]

"""Who pays: a human on the hosted page, a wallet on the sandbox's pretend chain, and one that signs what a 402 asks."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from typing import Any, Final

import httpx

from api.demo.telling import Failed
from api.running.children import environment, module

TIMEOUT_S: Final = 30.0
EVENT_TYPES: Final = ("checkout.session.completed", "payment_intent.succeeded")


def _web(**options: Any) -> httpx.Client:
    return httpx.Client(timeout=TIMEOUT_S, trust_env=False, **options)


def pay_on_page(handoff_url: str) -> tuple[str, str]:
    """Open the short link, follow it to the hosted page, press its button; where that was and where it led."""
    with _web(follow_redirects=True) as browser:
        page = browser.get(handoff_url)
        if page.status_code != 200 or 'value="pay"' not in page.text:
            raise Failed(f"{handoff_url} did not lead to a page with a pay button (HTTP {page.status_code})")
        hosted = page.url.copy_with(fragment=None)
        after = browser.post(hosted, data={"action": "pay"})
        if after.status_code != 200:
            raise Failed(f"after paying, {after.url} answered {after.status_code}")
        return f"{hosted.scheme}://{hosted.netloc.decode()}{hosted.path[:16]}…", str(after.url.copy_with(query=None))


def send_usdc(sandbox_url: str, instructions: Mapping[str, Any]) -> str:
    """Send exactly what the instructions ask for; the transaction's hash."""
    transfer = {
        "network": instructions["network"],
        "token_currency": instructions["token_currency"],
        "to": instructions["deposit_address"],
        "amount_atomic": instructions["token_amount_atomic"],
    }
    with _web() as wallet:
        sent = wallet.post(f"{sandbox_url}/sandbox/wallet/transfers", json=transfer)
        if sent.status_code != 200:
            raise Failed(f"the pretend chain answered {sent.status_code}")
        return str(sent.json()["transaction_hash"])


def signed(required: str, wallet_key: str, *, now: int | None = None) -> str:
    """The `PAYMENT-SIGNATURE` header that pays what a `PAYMENT-REQUIRED` header asks for, by a wallet of its own.

    `now` in Unix seconds: what the wallet takes for the time instead of its own clock.
    """
    order = {"key": wallet_key, "required": required, **({} if now is None else {"now": now})}
    ended = subprocess.run(  # noqa: S603 - our own module; the key goes through a pipe
        module("sandbox.wallet"), input=json.dumps(order), env=environment(),
        timeout=TIMEOUT_S, check=False, capture_output=True, text=True,
    )  # fmt: skip
    if ended.returncode != 0:
        raise Failed(f"the wallet did not sign: {ended.stderr}")
    return ended.stdout


def deliver_again(sandbox_url: str) -> list[tuple[str, int | None]]:
    """Let the pretend Stripe send every webhook about a payment once more; their types and our answers."""
    with _web(headers={"authorization": "Bearer sk_test_demo"}) as stripe:
        events = stripe.get(f"{sandbox_url}/v1/events", params={"limit": 100}).json()["data"]
        again = [event for event in events if event["type"] in EVENT_TYPES]
        return [
            (event["type"], stripe.post(f"{sandbox_url}/sandbox/events/{event['id']}/deliver").json()["status_code"])
            for event in reversed(again)
        ]

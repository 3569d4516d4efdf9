"""`/llms.txt`: the service on one page, for an agent that has nothing but the address. Pure.

Source of the form: https://llmstxt.org, a heading, a summary, notes, and lists of links.
"""

from __future__ import annotations

from collections.abc import Iterator

from api.documents.funding import dollars, money
from api.documents.markdown import flowed
from api.documents.operations import Operation
from api.documents.particulars import Particulars

QUICK_START = (
    (
        "POST /v1/agent-signups",
        '{"agent_name": "NAME", "runtime": "RUNTIME", "return_token": true} gives data.token, once',
    ),
    ("GET /v1/payment-methods", "which ways to pay are open, and which of them you can finish alone"),
    ("POST /v1/credit-quotes", "a price; then POST to the method's purchase_endpoint"),
    ("GET /v1/quota", "what is left, and how to buy more"),
    ("POST /v1/spends", '{"credits": 5, "idempotency_key": "KEY"} spends'),
)


def summary(here: Particulars) -> str:
    """The document."""
    return flowed(_lines(here))


def _lines(here: Particulars) -> Iterator[str]:
    offered = ", ".join(f"{pack.pack_id} ({pack.credits:,} for {dollars(pack)})" for pack in here.offer.packs)
    ways = [f"{each.method_id} ({'alone' if each.agent_settleable else 'with a human'})" for each in here.offered]
    yield from (
        "# Purser: credits for agents",
        "",
        f"> Prepaid credits at {here.url}: an agent signs up, pays and spends by itself, over HTTP with JSON.",
        f"> One credit is one US cent. {money(here)}",
        "",
        f"Sold: {offered}; or {here.offer.custom_credits_min} to {here.offer.custom_credits_max:,} credits by quote.",
        f"Paid by: {', '.join(ways) or 'nothing at the moment; ask again later'}.",
        "",
        "Answers are {ok, data, error, warnings, actor, command, trace_id}; ok decides, not the status. A refusal has",
        "error.code, error.retryable and error.recovery, which says what to send next. The token goes as a bearer.",
        "What moves credits or money takes an idempotency_key: the same",
        "request under it is done once, so repeat it until it",
        "is answered. Reading, signing up and quoting cost nothing.",
        "",
        "## Documents",
        "",
        f"- [How to buy and spend]({here.url}/skill.md): every call in order, refusals, limits, where to stop",
        f"- [Command line]({here.url}/cli.md): the image-skill client against this address",
        f"- [OpenAPI]({here.url}/openapi.json): each field, with examples and refusals",
        "",
        "## In short",
        "",
        *_quick(here),
        "",
        "## Without a token",
        "",
        *_named([each for each in here.operations if not each.agents and not each.operators]),
        "",
        "## With a token",
        "",
        *_named([each for each in here.operations if each.agents]),
        "",
        "## Optional: with an operator's key (the product beside the ledger)",
        "",
        *_named([each for each in here.operations if each.operators and not each.agents]),
        "",
    )


def _quick(here: Particulars) -> Iterator[str]:
    start = list(QUICK_START)
    if here.serves("GET /v1/guide"):
        start.insert(
            1, ("GET /v1/guide", "what to do next from where you are, and what it costs; ask it again after each step")
        )
    known = [f"`{name}`: {what}" for name, what in start if here.serves(name)]
    yield from (f"{place}. {line}" for place, line in enumerate(known, 1))


def _named(operations: list[Operation]) -> Iterator[str]:
    yield from (f"- `{each.name}`: {each.summary}" for each in operations)

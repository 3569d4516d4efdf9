"""`/skill.md`: how an agent that knows nothing but the address buys credits and spends them, with every call. Pure.

Each request in it is sent to a real service by `tests/documents/test_documents_followed.py`, in the order in which it
stands; words in capitals stand for what an earlier answer gave.
"""

from __future__ import annotations

from collections.abc import Iterator

from api.documents import refused
from api.documents.funding import funding, money
from api.documents.markdown import flowed, request, table
from api.documents.particulars import Particulars
from api.documents.spending import jobs, spending
from billing.refusals import Refusal

NO_SPEND = (
    ("GET /healthz", "is the service there"),
    ("GET /v1/credit-packs", "what is sold"),
    ("GET /v1/payment-methods", "how can be paid now"),
    ("GET /v1/models", "what credits buy, and at which price"),
    ("GET /v1/guide", "what to do next, and what it would cost"),
    ("POST /v1/agent-signups", "an account and a token; free"),
    ("GET /v1/quota", "what is left, and what would run out"),
    ("POST /v1/credit-quotes", "a price that stands for a while; binds nobody"),
    ("POST /v1/create", 'only with `"dry_run": true`: the plan and its price'),
    ("GET /v1/activity", "what happened"),
)
"""What costs nothing, and what it is for."""
_MORE = (
    (
        "POST /v1/agent-claims",
        "A human may become the owner of all this: `POST /v1/agent-claims`, `contact` is theirs.",
    ),
    ("POST /v1/feedback", "Something is wrong or missing here: `POST /v1/feedback`."),
)


def skill(here: Particulars) -> str:
    """The document."""
    return flowed(_lines(here))


def _lines(here: Particulars) -> Iterator[str]:
    yield from _head(here)
    yield from _answers()
    if here.serves("GET /v1/guide"):
        yield from _guide()
    yield from _account()
    yield from funding(here)
    yield from spending(here)
    if here.serves("POST /v1/create"):
        yield from jobs(here)
    yield from _keeping_track(here)
    yield from _once()
    yield from _stopping(here)
    yield from _refusals(here)
    yield from _limits(here)


def _head(here: Particulars) -> Iterator[str]:
    names = ", ".join(method.method_id for method in here.offered) or "no method now"
    yield from (
        "---",
        "name: purser",
        f"description: Buy prepaid credits at {here.url} and spend them, as an agent. Paid by {names}.",
        "---",
        "",
        "# Credits for agents",
        "",
        f"The service is at {here.url} (version {here.version}). It sells",
        "prepaid credits to agents and keeps their books:",
        "one credit is one US cent. You sign up, pay, and spend; each step is",
        "one HTTP call with JSON. Nothing is charged",
        f"that a call did not ask for. {money(here)}",
        "",
        f"More: [llms.txt]({here.url}/llms.txt) in short,",
        f"[openapi.json]({here.url}/openapi.json) with each field, example",
        f"and refusal, [cli.md]({here.url}/cli.md) for the `image-skill` command line.",
        "",
    )


def _answers() -> Iterator[str]:
    yield from (
        "## Every answer",
        "",
        "has the same shape: `ok`, `data` (when `ok`), `error` (when not), `warnings`, `actor`, `command`, `trace_id`.",
        "**`ok` decides, not the status.** In `error` stand `code`, `message`,",
        "`retryable` and `recovery`: what to do, and",
        "often the very request or command to go on with. Amounts are whole",
        "numbers: credits, or cents where the name ends",
        "in `_cents`. Times are UTC. In requests unknown fields are ignored; secrets of payments never belong in one.",
        "",
    )


def _guide() -> Iterator[str]:
    yield from ("## What next?", "")
    yield from request("GET", "/v1/guide?operation=spend&credits=5")
    yield from (
        "",
        "Ask this whenever you do not know how to go on, with your token once you have one: `data.next_action` is the",
        "one request to send next, and says whether it spends anything. It changes nothing. It leads you through this:",
        "",
    )


def _account() -> Iterator[str]:
    yield from ("## 1. Get a token", "")
    body = {"agent_name": "NAME", "runtime": "RUNTIME", "return_token": True}
    yield from request("POST", "/v1/agent-signups", body)
    yield from (
        "",
        "No e-mail is needed. `data.token` is shown once: keep it where you",
        "keep secrets, and send it with all that follows",
        "as `Authorization: Bearer TOKEN`. Do not sign up twice; each sign-up",
        "is another organization with no credits. Lose the",
        "token and the credits are lost to you, unless you named an",
        "`agent_contact`, paid from a wallet, or have an owner.",
        "To replace it: `POST /v1/tokens/rotate`. To share the credits with another agent: `POST /v1/agents`.",
        "",
    )


def _keeping_track(here: Particulars) -> Iterator[str]:
    yield from ("## Keep track", "")
    yield from request("GET", "/v1/quota")
    yield from ("",)
    yield from request("GET", "/v1/activity?limit=20")
    yield from (
        "",
        "The quota says what is left and, under `top_up`, when and how to buy more: do it before you are refused.",
        "Lists are newest first and come in pages: send `next_cursor` as `cursor`.",
        "`GET /v1/ledger/entries` is the book itself.",
        *[line for name, line in _MORE if here.serves(name)],
        "",
    )


def _once() -> Iterator[str]:
    yield from (
        "## Once, and only once",
        "",
        "What moves credits or money takes an `idempotency_key` that you make",
        "up. **The same request under the same key is",
        "done once and answered the same again** (`replayed: true`), however often it is sent. So:",
        "",
        "- No answer, a time-out, or `retryable: true`: send the same request with the same key until it is answered.",
        "- The same key for something else is a conflict (409), and nothing happens.",
        "- A definite no that says *under a fresh key* stays a no under its key for ever. Go on with a new one.",
        "- A signed x402 payment is its own key. Never sign a second one while the first may still arrive.",
        "",
    )


def _stopping(here: Particulars) -> Iterator[str]:
    yield from ("## Where you can stop without spending", "")
    rows = [(f"`{name}`", what) for name, what in NO_SPEND if here.serves(name)]
    yield from table(("request", "tells"), rows)
    yield from (
        "",
        "A purchase that was begun and not paid costs nothing and ends by",
        "itself. Money moves when you sign a payment, send USDC,",
        "or a human pays on the page; credits move with a spend, a capture, or a job that was made.",
        "",
    )


def _refusals(here: Particulars) -> Iterator[str]:
    given = {refusal for operation in here.for_agents for refusal in operation.refusals}
    yield from ("## When you are refused", "", "Read `error.recovery` first; this is what stands behind each code.", "")
    yield from refused.what_to_do(refusal for refusal in Refusal if refusal in given)
    yield ""


def _limits(here: Particulars) -> Iterator[str]:
    limits = here.limits
    yield from (
        "## Limits",
        "",
        f"- A body has at most {limits.body_bytes:,} bytes, and must arrive within seconds.",
        f"- In a minute: {limits.requests} quotes, purchases and the like of",
        f"  one organization; {limits.signups} sign-ups and",
        f"  {limits.payments} x402 calls of one address; {limits.refusals}",
        "refused spends of one agent. More is `RATE_LIMITED`.",
        *([f"- {limits.jobs_per_day} jobs a day (UTC)."] if limits.jobs_per_day is not None else []),
        "- An operator or owner may cap what you spend, or pause you: `recovery` says which cap and when it frees up.",
        "",
    )

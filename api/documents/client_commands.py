"""`/cli.md`: the commands of the public client `image-skill` that work against this service. Pure.

Source: the client's contract, versions 0.1.30 and 0.1.70. A command is listed where all that it asks is served.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from api.documents.markdown import flowed, table
from api.documents.particulars import Particulars
from api.documents.refused import EXIT_OF_STATUS
from billing.packs import STRIPE_CHECKOUT, STRIPE_X402


@dataclass(frozen=True, slots=True)
class Command:
    """A command as it is typed, and what it asks."""

    words: str
    asks: tuple[str, ...]
    spends: str
    """What it may cost."""
    needs: str
    """What the client must have saved."""
    since: str = ""
    """The client that has it first, where the older one has not."""


FREE: Final = "nothing"
OPEN: Final = "nothing"
TOKEN: Final = "token"  # noqa: S105 - a word of the table
_GUIDE: Final = ("GET /healthz", "GET /v1/models", "GET /v1/payment-methods", "GET /v1/quota")
COMMANDS: Final = (
    Command("doctor", ("GET /healthz",), FREE, OPEN),
    Command("trust", ("GET /healthz", "GET /v1/models"), FREE, OPEN),
    Command(
        "signup --agent --agent-name NAME --runtime RUNTIME --agent-contact INBOX",
        ("POST /v1/agent-signups",),
        FREE,
        OPEN,
    ),
    Command("whoami", ("GET /v1/whoami",), FREE, TOKEN),
    Command("auth status", ("GET /v1/whoami",), FREE, TOKEN),
    Command("claim request --contact INBOX", ("POST /v1/agent-claims",), FREE, TOKEN, "0.1.70"),
    Command("models list --available", ("GET /v1/models",), FREE, OPEN),
    Command("models show MODEL_ID", ("GET /v1/models/{model_id}",), FREE, OPEN),
    Command("create --guide --prompt PROMPT", _GUIDE, FREE, OPEN),
    Command("create --dry-run --prompt PROMPT", ("POST /v1/create",), FREE, OPEN),
    Command("create --prompt PROMPT --idempotency-key KEY", ("POST /v1/create",), "credits, when it is made", TOKEN),
    Command("jobs show JOB_ID", ("GET /v1/jobs/{job_id}",), FREE, TOKEN),
    Command("jobs wait JOB_ID", ("GET /v1/jobs/{job_id}",), FREE, TOKEN),
    Command("usage quota", ("GET /v1/quota",), FREE, TOKEN),
    Command("quota", ("GET /v1/quota",), FREE, TOKEN),
    Command("credits methods --json", ("GET /v1/payment-methods",), FREE, OPEN),
    Command("credits packs list", ("GET /v1/credit-packs",), FREE, OPEN),
    Command("credits quote --pack PACK_ID --payment-method METHOD_ID", ("POST /v1/credit-quotes",), FREE, TOKEN),
    Command("credits quote --credits NUMBER --payment-method METHOD_ID", ("POST /v1/credit-quotes",), FREE, TOKEN),
    Command(
        "credits buy --provider stripe --quote-id QUOTE_ID --idempotency-key KEY",
        (f"POST {STRIPE_CHECKOUT.purchase_endpoint}",),
        "money, when a human pays",
        TOKEN,
    ),
    Command(
        "credits buy --provider stripe_x402 --quote-id QUOTE_ID --idempotency-key KEY",
        (f"POST {STRIPE_X402.purchase_endpoint}",),
        "money, when USDC is sent",
        TOKEN,
    ),
    Command("credits status --quote-id QUOTE_ID", ("GET /v1/credit-purchases/status",), FREE, TOKEN),
    Command("credits status --payment-attempt-id ID", ("GET /v1/credit-purchases/status",), FREE, TOKEN),
    Command("activity list", ("GET /v1/activity",), FREE, TOKEN),
    Command("activity show REFERENCE", ("GET /v1/activity/{reference}",), FREE, TOKEN),
    Command("feedback create --title TITLE --body BODY", ("POST /v1/feedback",), FREE, TOKEN),
)
"""In the order in which they are of use."""
_METHODS: Final = " and ".join(f"`{method.method_id}`" for method in (STRIPE_CHECKOUT, STRIPE_X402))


def client_commands(here: Particulars) -> str:
    """The document."""
    return flowed(_lines(here))


def _lines(here: Particulars) -> Iterator[str]:
    yield from (
        "# image-skill at this service",
        "",
        "The public client `image-skill` (0.1.30 or 0.1.70) works against",
        f"{here.url} when it is told so **each time**; it",
        "forgets the address between two calls, and would then send your token somewhere else:",
        "",
        "```console",
        f"$ export IMAGE_SKILL_API_BASE_URL={here.url}",
        "$ image-skill signup --agent --agent-name NAME --runtime RUNTIME --agent-contact INBOX",
        "$ image-skill create --guide --prompt PROMPT",
        "```",
        "",
        "(0.1.70 signs up without a contact too.) Or with `--api-base-url` behind each command. It keeps the token by",
        "itself. Answers suggest commands that have the",
        "address in them; where the client has no words (`x402.exact.usdc`,",
        "spends, holds) they suggest requests instead:",
        f"[skill.md]({here.url}/skill.md) has these.",
        "",
        *table(("command", "asks", "costs", "needs"), _rows(here)),
        "",
        f"`METHOD_ID` is one of {_METHODS}; other ways to pay are requests. With the same `--idempotency-key` a",
        "command may be repeated: it is done once.",
        "",
        f"Exit codes: 0 done; by status {EXIT_OF_STATUS}; the header",
        "`x-image-skill-exit-code` has the last word (2 a field is",
        "wrong, 4 not available, 6 content policy, 8 too late, 9 not stored).",
        "",
    )


def _rows(here: Particulars) -> Iterator[tuple[str, ...]]:
    for command in COMMANDS:
        if all(here.serves(name) for name in command.asks):
            since = f" ({command.since})" if command.since else ""
            asked = ", ".join(f"`{name}`" for name in command.asks)
            yield (f"`{command.words}`{since}", asked, command.spends, command.needs)

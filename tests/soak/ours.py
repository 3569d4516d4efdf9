"""Our side of the numbers, read as the owner of the database; and whether the service still has something to do."""

from __future__ import annotations

import time
from typing import Any, Final

from ledger.ids import external
from tests.soak.stage import Stage

QUIET_WITHIN_S: Final = 180.0
POLL_S: Final = 0.25
QUIET_POLLS: Final = 3
"""So often in a row must nothing be left to do."""

_WAITING: Final = {
    "letters that wait": "SELECT count(*) FROM webhooks.letters WHERE state = 'pending'",
    "requests without an outcome": (
        "SELECT count(*) FROM billing.provider_requests WHERE state IN ('stored', 'unknown')"
    ),
    "refunds without an outcome": "SELECT count(*) FROM billing.refund_requests WHERE state IN ('stored', 'unknown')",
    "objects that are watched": "SELECT count(*) FROM billing.watched_objects WHERE done_at IS NULL",
    "open attempts": (
        "SELECT count(*) FROM billing.payment_attempts WHERE state IN ('created', 'action_required', 'processing')"
    ),
}


def let_the_day_pass(stage: Stage) -> None:
    """Attempts that nobody paid are a day old at once."""
    stage.rows(
        "UPDATE billing.payment_attempts SET payable_until = created_at, looked_at = created_at"
        " WHERE state IN ('created', 'action_required', 'processing')"
    )


def wait_until_quiet(stage: Stage) -> dict[str, int]:
    """What is left to do when nothing happens any more, or the time is over; empty when nothing is."""
    deadline = time.monotonic() + QUIET_WITHIN_S
    quiet = 0
    left: dict[str, int] = {}
    while time.monotonic() < deadline and quiet < QUIET_POLLS:
        counted = {what: int(stage.rows(query)[0][0]) for what, query in _WAITING.items()}
        left = {what: count for what, count in counted.items() if count}
        quiet = 0 if left else quiet + 1
        time.sleep(POLL_S)
    return left


def left_over(stage: Stage) -> list[str]:
    """What is not finished, by name, for whoever must find it."""
    queries = {
        "letter": "SELECT type, state, tries, reason FROM webhooks.letters WHERE state IN ('pending', 'parked')",
        "request": "SELECT attempt_id, number, state, tries, error FROM billing.provider_requests"
        " WHERE state IN ('stored', 'unknown')",
        "refund": "SELECT attempt_id, state, tries, error FROM billing.refund_requests"
        " WHERE state IN ('stored', 'unknown')",
        "watched": "SELECT kind, external_id, looks, next_look_at FROM billing.watched_objects WHERE done_at IS NULL",
    }
    return [f"{what} {[str(v) for v in row]}" for what, query in queries.items() for row in stage.rows(query)[:5]]


def attempts(stage: Stage) -> dict[str, str]:
    """The state of each attempt, by its id."""
    rows = stage.rows("SELECT id, state FROM billing.payment_attempts")
    return {external("payatt", row[0]): row[1] for row in rows}


def receipts(stage: Stage) -> dict[str, tuple[int, int, int]]:
    """(credits, cents, tax) of each attempt's receipt."""
    rows = stage.rows("SELECT attempt_id, credits, total_cents, tax_cents FROM billing.receipts")
    return {external("payatt", row[0]): (row[1], row[2], row[3]) for row in rows}


def money_kept(stage: Stage) -> dict[str, int]:
    """Cents: the bases of all lots, remainders and unallocated money, as they were when they came in."""
    [[bases]] = stage.rows("SELECT coalesce(sum(basis_amount), 0)::bigint FROM ledger.lot_openings")
    [[remainders]] = stage.rows(_CAME_IN.format("deposit_remainder"))
    [[unallocated]] = stage.rows(_CAME_IN.format("unallocated_deposits"))
    return {"bases": int(bases), "remainders": int(remainders), "unallocated": int(unallocated)}


_CAME_IN: Final = (
    "SELECT coalesce(sum(amount), 0)::bigint FROM ledger.transfers WHERE debit = 'stripe_clearing' AND credit = '{}'"
)


def balance_over_all_books(stage: Stage, code: str) -> int:
    """Debits − credits of an account over all books, in cents."""
    [[found]] = stage.rows(
        "SELECT coalesce(sum(debits - credits), 0)::bigint FROM ledger.accounts WHERE code = $1", code
    )
    return int(found)


def lines(stage: Stage) -> dict[str, tuple[int, int, int, str]]:
    """(amount, fee, net, category) of each line of the provider's balance that was posted."""
    rows = stage.rows("SELECT id, amount_cents, fee_cents, net_cents, category FROM billing.balance_transactions")
    return {row[0]: (row[1], row[2], row[3], row[4]) for row in rows}


def counts(stage: Stage) -> dict[str, int]:
    """What the service went through, for the report."""
    queries: dict[str, Any] = {
        "letters": "SELECT count(*) FROM webhooks.letters",
        "letters that the webhook never brought": "SELECT count(*) FROM webhooks.letters WHERE paged",
        "letters tried more than once": "SELECT count(*) FROM webhooks.letters WHERE tries > 1",
        "requests tried more than once": "SELECT count(*) FROM billing.provider_requests WHERE tries > 0",
        "attempts asked for anew": "SELECT count(*) FROM billing.payment_attempts WHERE request_number > 1",
        "operations": "SELECT count(*) FROM ledger.operations",
        "transfers": "SELECT count(*) FROM ledger.transfers",
        "reversals": "SELECT count(*) FROM billing.payment_reversals",
        "payouts": "SELECT count(*) FROM billing.payouts",
    }
    return {what: int(stage.rows(query)[0][0]) for what, query in queries.items()}

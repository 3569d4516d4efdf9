"""Asking the books on the hot path: operations go through the lane, and its failures are refusals.

What a lane raises says for certain that nothing was posted, except `OutcomeUnknown`: then the same request, under the
same keys, is the way to learn it.
"""

from __future__ import annotations

from collections.abc import Sequence

from billing.refusals import Refusal, Refused
from ledger.lane import Lane, LaneClosed, LaneFull, OutcomeUnknown
from ledger.operations import Operation
from ledger.outcomes import Posted


async def post(lane: Lane, operation: Operation) -> Posted:
    """Post one operation. Raises as `post_all`."""
    return (await post_all(lane, (operation,)))[0]


async def post_all(lane: Lane, operations: Sequence[Operation]) -> list[Posted]:
    """Post operations, one answer each. Raises `Refused`: OVERLOADED, SERVICE_UNAVAILABLE, POSTING_OUTCOME_UNKNOWN."""
    try:
        return await lane.post_all(operations)
    except LaneFull:
        raise Refused(Refusal.OVERLOADED) from None
    except LaneClosed:
        raise Refused(Refusal.SERVICE_UNAVAILABLE, "the service is stopping; nothing was posted") from None
    except OutcomeUnknown:
        raise Refused(Refusal.POSTING_OUTCOME_UNKNOWN) from None

"""What the lane raises, as refusals. Over HTTP: `tests/flows/test_refusals.py`."""

from uuid import UUID

import pytest

from api.metrics import LaneMetrics
from billing import asking
from billing.refusals import Refusal, Refused
from billing.spending import Behalf, spend
from ledger.lane import Lane


async def nobody():
    raise AssertionError("a lane that does not run connects to nothing")


async def test_a_service_that_stops_posts_nothing_and_says_so():
    operation = spend(Behalf(UUID(int=1), UUID(int=2), None), "k", 1)
    with pytest.raises(Refused) as refused:
        await asking.post(Lane(nobody, LaneMetrics()), operation)
    assert refused.value.refusal is Refusal.SERVICE_UNAVAILABLE
    assert "nothing was posted" in refused.value.message

from datetime import timedelta

import pytest

from api.http.views.catalog import limits
from billing.packs import STRIPE_CHECKOUT, STRIPE_X402, Offer, Pack

HOUR = timedelta(hours=1)


def offer(*packs: int, custom: tuple[int, int]) -> Offer:
    sold = tuple(Pack(f"pack-{number}", "Pack", number) for number in packs)
    return Offer(sold, sold[0].pack_id, *custom, None, HOUR, HOUR, HOUR)


@pytest.mark.parametrize(
    ("method", "sold", "least", "most"),
    [
        (STRIPE_X402, offer(500, custom=(1, 5000)), 1, 5000),
        (STRIPE_CHECKOUT, offer(500, custom=(1, 5000)), 50, 5000),
        (STRIPE_CHECKOUT, offer(500, 20_000, custom=(100, 5000)), 100, 20_000),
        (STRIPE_CHECKOUT, offer(60, custom=(100, 5000)), 60, 5000),
        (STRIPE_CHECKOUT, offer(10, 500, custom=(1, 20)), 500, 500),
        (STRIPE_X402, offer(500, custom=(1, 20)), 1, 500),
        (STRIPE_CHECKOUT, offer(10, custom=(1, 20)), 0, 0),
    ],
)
def test_limits_are_what_the_method_takes_of_what_is_sold(method, sold, least, most):
    assert limits(method, sold) == {"min_amount_cents": least, "max_amount_cents": most}

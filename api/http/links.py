"""How links to humans go out of this house."""

from __future__ import annotations

from datetime import timedelta

from api.wiring import House
from billing.claims import Post


def post_of(house: House) -> Post:
    """By the sender of the settings, to our own pages."""
    return Post(house.outside.sender, house.settings.url, timedelta(seconds=house.settings.claim_link_ttl_s))

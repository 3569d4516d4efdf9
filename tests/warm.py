"""What is learned once a run, and not once a test: how our statements compile, and what the price list says."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from api import price_list
from api.settings import Settings
from api.wiring import House, build
from billing.database import engine

_engines: dict[tuple[str, str], AsyncEngine] = {}
_read_once = cache(price_list.read_price_list)


def engine_of(url: str, purpose: str, **options: Any) -> AsyncEngine:
    """`billing.database.engine`, but one for each database and purpose of the run, with the options of the first call.

    Whoever is done disposes it; then it may be used in another event loop, and has not forgotten what it compiled. Two
    that overlap must name two purposes: the first one's end would take the other's connections.
    """
    if (url, purpose) not in _engines:
        _engines[url, purpose] = engine(url, **options)
    return _engines[url, purpose]


def house_of(settings: Settings, purpose: str) -> House:
    """`api.wiring.build` on such an engine; the price list is parsed for the first one only."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(price_list, "read_price_list", _read_once)
        patched.setattr("api.wiring.engine", partial(engine_of, purpose=purpose))
        return build(settings)

"""Engines that last: how our statements compile is learned once a run, and not once a test."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from api.settings import Settings
from api.wiring import House, build
from billing.database import engine

_engines: dict[tuple[str, str], AsyncEngine] = {}


def engine_of(url: str, purpose: str, **options: Any) -> AsyncEngine:
    """`billing.database.engine`, but one for each database and purpose of the run, with the options of the first call.

    Whoever is done disposes it; then it may be used in another event loop, and has not forgotten what it compiled. Two
    that overlap must name two purposes: the first one's end would take the other's connections.
    """
    if (url, purpose) not in _engines:
        _engines[url, purpose] = engine(url, **options)
    return _engines[url, purpose]


def house_of(settings: Settings, purpose: str) -> House:
    """`api.wiring.build` on such an engine."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("api.wiring.engine", partial(engine_of, purpose=purpose))
        return build(settings)

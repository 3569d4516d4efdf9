"""Which waits of the service are shortened in a soak, so that what takes minutes to hours fits into it.

Code and settings are those of production; only these constants differ, and no operator would want them as settings:
they say how often a provider is asked again after a failure. What is a setting is set as one (`stage.SETTINGS`).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from importlib import import_module
from typing import Final

WAITS_S: Final = {
    "billing.requests": {"FIRST_RETRY": 1.0, "RETRY_MAX": 2.0},
    "billing.fulfillment": {"FEE_AFTER": 3.0},
    "billing.watching": {"PAUSE_MIN": 1.0, "PAUSE_MAX": 4.0},
    "billing.clearing": {"LOOK_AGAIN_AFTER": 2.0},
    "billing.reversals.applying": {"LOOK_AGAIN_AFTER": 2.0},
    "billing.sweeping": {"PAYABLE_GRACE": 1.0, "WISH_AFTER": 2.0},
    "billing.looking": {"POLLED_APART": 3.0, "RETURNED_APART": 1.0},
    "webhooks.inbox": {"CLAIM_FOR": 6.0, "PATIENT_RETRY": 2.0, "_FIRST_RETRY": 0.5, "_RETRY_MAX": 5.0},
    "webhooks.paging": {"NOT_NEARER": 1.5, "OVERLAP": 20.0},
}
"""Module → constant → seconds instead."""
CHORES_EVERY_S: Final = 1.0
"""No chore of the worker rests longer."""


def shorten() -> None:
    """Shorten them in this process. Raises `AttributeError` or `TypeError` for a constant that is gone or no wait."""
    for module, constants in WAITS_S.items():
        for name, seconds in constants.items():
            known = getattr(import_module(module), name)
            if not isinstance(known, timedelta):
                raise TypeError(f"{module}.{name} is no wait")
            setattr(import_module(module), name, timedelta(seconds=seconds))
    worker = import_module("api.worker")
    chores = tuple(replace(one, every_s=min(one.every_s, CHORES_EVERY_S)) for one in worker.CHORES)
    worker.CHORES = chores  # type: ignore[attr-defined]

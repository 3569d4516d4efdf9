"""Stripe's published fixtures: every answer starts from one, so that no field is forgotten.

`fixtures.json` is an unchanged extract of `openapi/fixtures3.json` in github.com/stripe/openapi (MIT licence).
"""

import copy
import json
from pathlib import Path
from typing import Any

_PUBLISHED: dict[str, Any] = json.loads((Path(__file__).parent / "fixtures.json").read_text("utf-8"))


def start_from(kind: str, **fields: Any) -> dict[str, Any]:
    """A fresh copy of the published object of that kind, with the given fields in place of the example's."""
    return {**copy.deepcopy(_PUBLISHED[kind]), **fields}

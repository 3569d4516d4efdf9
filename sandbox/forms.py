"""Stripe's form encoding, `line_items[0][price_data][currency]=usd` (https://docs.stripe.com/api)."""

import re
from typing import Any
from urllib.parse import parse_qsl

from sandbox.errors import Refusal

FIELDS_MAX = 1000
DEPTH_MAX = 10
_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)\Z")


def decode(text: str) -> dict[str, Any]:
    """Nested dicts of strings. Lists stay dicts of their positions (`{"0": …}`) until `parameters.read` knows better.

    Raises `Refusal` for a form that cannot be read.
    """
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError as unreadable:
        raise Refusal(400, "Invalid request: the form could not be read.") from unreadable
    form: dict[str, Any] = {}
    for name, value in pairs:
        _put(form, _path(name), value)
    return form


def _path(name: str) -> list[str]:
    found = _NAME.match(name)
    if found is None:
        raise Refusal(400, f"Invalid request: could not parse the parameter name {name!r}.")
    path = [found[1], *re.findall(r"\[([^\[\]]*)\]", found[2])]
    if len(path) > DEPTH_MAX:
        raise Refusal(400, "Invalid request: parameters are nested too deeply.")
    return path


def _put(form: dict[str, Any], path: list[str], value: str) -> None:
    for step in path[:-1]:
        inner = form.setdefault(step or str(len(form)), {})
        if not isinstance(inner, dict):
            raise Refusal(400, f"Invalid request: {path[0]} is given both as a value and as a group.")
        form = inner
    form[path[-1] or str(len(form))] = value

"""The refusals as documents show them: tables of Markdown, exit codes, and one example each. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from api.documents.markdown import table
from billing.refusals import Refusal, Rule

_EXIT_BY_STATUS: Final[Mapping[int, int]] = {401: 3, 403: 3, 402: 5, 429: 5}
EXIT_OF_STATUS: Final = "401 and 403: 3, 402 and 429: 5, 5xx: 7, else 1"
"""What the public client makes of a status by itself. Source: section 1.5 of its contract."""


def exit_code(rule: Rule) -> int:
    """What the public client ends with."""
    if rule.exit_code is not None:
        return rule.exit_code
    return 7 if rule.http_status >= 500 else _EXIT_BY_STATUS.get(rule.http_status, 1)


def full_table(refusals: Iterable[Refusal]) -> list[str]:
    """Everything there is to say of each, as lines of Markdown."""
    heads = ("code", "HTTP", "retryable", "freezes the key", "exit", "means", "what to do")
    return table(
        heads,
        (
            (
                f"`{refusal.code}`",
                str(refusal.rule.http_status),
                _yes(refusal.rule.retryable),
                _yes(refusal.rule.freezes_key),
                str(exit_code(refusal.rule)),
                refusal.rule.message,
                refusal.rule.advice,
            )
            for refusal in refusals
        ),
    )


def what_to_do(refusals: Iterable[Refusal]) -> list[str]:
    """The same for who was refused: what to do, and under which key."""
    return table(
        ("code", "HTTP", "what to do", "send again"),
        ((f"`{one.code}`", str(one.rule.http_status), one.rule.advice, sent_again(one.rule)) for one in refusals),
    )


def sent_again(rule: Rule) -> str:
    """Whether the same request is worth sending again, and under which key."""
    if rule.freezes_key:
        return "under a fresh key"
    return "as it was, later" if rule.retryable else "not as it was"


def example(refusal: Refusal, recovery: Mapping[str, Any]) -> dict[str, Any]:
    """An answer that refuses so."""
    rule = refusal.rule
    error = {"code": refusal.code, "message": rule.message, "retryable": rule.retryable, "recovery": dict(recovery)}
    return {
        "ok": False,
        "command": "image-skill",
        "trace_id": "trace_00000000000000000000000000",
        "actor": None,
        "data": None,
        "warnings": [],
        "error": error,
    }


def _yes(flag: bool) -> str:  # noqa: FBT001 - it says the flag in words
    return "yes" if flag else "no"

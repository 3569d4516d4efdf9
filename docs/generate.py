"""Writes the documents that are drawn from code: `python -m docs.generate`. A test compares them with the files."""

from __future__ import annotations

from pathlib import Path

from pydantic_core import PydanticUndefined

from api.settings import Settings
from billing.attempts import OPEN_STATES, TRANSITIONS, AttemptState
from billing.refusals import Refusal

FOLDER = Path(__file__).parent
_NOTE = "Drawn from `{source}` by `python -m docs.generate`; `tests/house/test_documents.py` compares."


def attempt_states() -> str:
    """The state machine of a payment attempt, as a Mermaid diagram and a table."""
    lines = [
        "# The states of a payment attempt",
        "",
        _NOTE.format(source="billing/attempts.py"),
        "",
        "```mermaid",
        "stateDiagram-v2",
        f"    [*] --> {AttemptState.CREATED}",
    ]
    lines += [f"    {state} --> {to}: {happening}" for (state, happening), to in TRANSITIONS.items()]
    ends = sorted({state for state in AttemptState if state not in OPEN_STATES})
    lines += [f"    {state} --> [*]" for state in ends]
    lines += [
        "```",
        "",
        "| state | what happens | next state |",
        "| --- | --- | --- |",
        *[f"| `{state}` | {happening} | `{to}` |" for (state, happening), to in TRANSITIONS.items()],
        "",
        "What does not stand in the table changes nothing: a letter that is repeated, late or about an object that",
        "was replaced. Money that settles is honoured from every state, because it was really paid; a second payment",
        "of the same quote grants nothing, is kept as unallocated (or sent back), and cancels its attempt if that one",
        "has not ended. `created` covers a request whose outcome is unknown: it is sent again, byte for byte, under",
        "the same provider key, or looked for among the provider's objects; only when nothing came of it is the next",
        "one sent, and the attempt stays `created` (`docs/decisions/0013-no-letter-is-needed.md`). An `expired`",
        "attempt is opened again by its link while it may be paid",
        "(`docs/decisions/0006-a-page-may-be-opened-again.md`).",
        "",
    ]
    return "\n".join(lines)


def refusals() -> str:
    """Every refusal with its HTTP status and what to do."""
    lines = [
        "# Refusals",
        "",
        _NOTE.format(source="billing/refusals.py"),
        "",
        "In order of precedence: where several apply, the first is answered. *Exit* is what the public client ends",
        "with when it differs from what it makes of the HTTP status (401: 3, 429: 5, 5xx: 7, else 1).",
        "",
        "| code | HTTP | retryable | exit | means | what to do |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for refusal in Refusal:
        rule = refusal.rule
        lines.append(
            f"| `{refusal.code}` | {rule.http_status} | {'yes' if rule.retryable else 'no'} | "
            f"{rule.exit_code if rule.exit_code is not None else ''} | {rule.message} | {rule.advice} |"
        )
    return "\n".join([*lines, ""])


def settings() -> str:
    """Every setting with its default."""
    lines = [
        "# Settings",
        "",
        _NOTE.format(source="api/settings.py"),
        "",
        "All come from the environment. With none at all the service runs on an embedded database and the sandbox.",
        "",
        "| variable | default | what it is |",
        "| --- | --- | --- |",
    ]
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, PydanticUndefined) else _default(field.default)
        lines.append(f"| `PURSER_{name.upper()}` | {default} | {field.description} |")
    return "\n".join([*lines, ""])


def _default(value: object) -> str:
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return f"`{','.join(value)}`" if value else ""
    if isinstance(value, list):
        return "the three standard packs"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


DOCUMENTS = {"attempt-states.md": attempt_states, "refusals.md": refusals, "settings.md": settings}


def main() -> None:
    """Write them all."""
    for name, draw in DOCUMENTS.items():
        (FOLDER / name).write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()

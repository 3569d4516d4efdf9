"""Writes the documents that are drawn from code: `python -m docs.generate`. A test compares them with the files."""

from __future__ import annotations

from pathlib import Path

from pydantic_core import PydanticUndefined

from api.documents.refused import EXIT_OF_STATUS, full_table
from api.settings import Settings
from billing.attempts import OPEN_STATES, TRANSITIONS, AttemptState
from billing.job_states import OPEN as OPEN_JOB_STATES
from billing.job_states import TRANSITIONS as JOB_TRANSITIONS
from billing.job_states import JobState
from billing.refusals import Refusal
from billing.settlement_states import PAYING, SettlementState
from billing.settlement_states import TRANSITIONS as SETTLEMENT_TRANSITIONS
from docs import served
from rails.evm.networks import NETWORKS, Confirmations, Finality, Network

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


def settlement_states() -> str:
    """The state machine of a settlement, as a Mermaid diagram and a table."""
    lines = [
        "# The states of a settlement",
        "",
        _NOTE.format(source="billing/settlement_states.py"),
        "",
        "A settlement is one signed payment of x402, presented for one attempt ([x402.md](x402.md)).",
        "",
        "```mermaid",
        "stateDiagram-v2",
        f"    [*] --> {SettlementState.CLAIMED}",
        *[f"    {state} --> {to}: {turn}" for (state, turn), to in SETTLEMENT_TRANSITIONS.items()],
        *[f"    {state} --> [*]" for state in (SettlementState.SETTLED, SettlementState.KEPT, SettlementState.FAILED)],
        "```",
        "",
        "| state | what happens | next state |",
        "| --- | --- | --- |",
        *[f"| `{state}` | {turn} | `{to}` |" for (state, turn), to in SETTLEMENT_TRANSITIONS.items()],
        "",
        "| state | means | the payer is told |",
        "| --- | --- | --- |",
        *[f"| `{state}` | {means} | {told} |" for state, (means, told) in _SETTLEMENTS.items()],
        "",
        f"While it is {', '.join(f'`{state}`' for state in PAYING)} nobody is asked to pay again. What does not",
        "stand in the table changes nothing. Money that arrives is honoured from every state: a signature that we",
        "never sent anywhere is good until its window closes, so its payer, or anybody who saw it, may carry it out.",
        "`final`, a column of its own, says that nothing can change any more: a block that the chain calls `finalized`",
        "holds the payment, or is past its window without it. Until then `settled` is watched.",
        "",
    ]
    return "\n".join(lines)


_SETTLEMENTS = {
    SettlementState.CLAIMED: ("verified and stored; nothing was sent anywhere", "202: wait"),
    SettlementState.SETTLING: ("something may have been sent; only the chain says what became of it", "202: wait"),
    SettlementState.UNKNOWN: ("what was sent cannot be found, or failed while the signature is good", "202: wait"),
    SettlementState.HELD: ("paid; a person must look before it is granted", "202: `under_review`"),
    SettlementState.SETTLED: ("paid and granted", "200"),
    SettlementState.KEPT: (
        "paid and not granted; the money stands unallocated until it is sent back",
        "200: `under_review`",
    ),
    SettlementState.VANISHED: ("a reorganization took it out after the grant; it may come back", "202: wait"),
    SettlementState.FAILED: ("proven not paid, or never sent", "402 `PAYMENT_FAILED`"),
}


def job_states() -> str:
    """The state machine of a metered job, as a Mermaid diagram and a table."""
    lines = [
        "# The states of a job",
        "",
        _NOTE.format(source="billing/job_states.py"),
        "",
        "```mermaid",
        "stateDiagram-v2",
        *[f"    [*] --> {state}" for state in (JobState.PLANNED, JobState.REFUSED, JobState.QUEUED)],
        *[f"    {state} --> {to}: {turn}" for (state, turn), to in JOB_TRANSITIONS.items()],
        *[f"    {state} --> [*]" for state in JobState if state not in OPEN_JOB_STATES],
        "```",
        "",
        "| state | what happens | next state |",
        "| --- | --- | --- |",
        *[f"| `{state}` | {turn} | `{to}` |" for (state, turn), to in JOB_TRANSITIONS.items()],
        "",
        "| state | means | credits |",
        "| --- | --- | --- |",
        *[f"| `{state}` | {means} | {credits_} |" for state, (means, credits_) in _JOBS.items()],
        "",
        "What does not stand in the table changes nothing: a result that comes after the deadline, after a cancel, or",
        "a second time with other content is answered `JOB_ENDED` and charges nothing. The same result again is",
        "answered as it was the first time.",
        "",
    ]
    return "\n".join(lines)


_JOBS = {
    JobState.PLANNED: ("a dry run: priced and stored, and never more", "none"),
    JobState.REFUSED: ("refused for want of credits or by a cap; its key is answered so for ever", "none"),
    JobState.QUEUED: ("ordered; no executor has taken it yet", "held"),
    JobState.RUNNING: ("the executor has taken it and will answer later", "held"),
    JobState.COMPLETED: ("made", "charged for what was made; the rest of the hold went back"),
    JobState.FAILED: ("not made, for a reason that it names", "all went back"),
    JobState.CANCELED: ("somebody of the organization did not want it any more", "all went back"),
}


def networks() -> str:
    """The chains and when a payment on them is final."""
    lines = [
        "# Networks of x402, and when a payment counts",
        "",
        _NOTE.format(source="rails/evm/networks.py"),
        "",
        "`PURSER_X402_NETWORK` names one. What stands here is compared with the chain itself: a node of another chain,",
        "or a token with other decimals or another name or version, is refused at the start.",
        "",
        "| network | chain | USDC | EIP-712 name, version | decimals |",
        "| --- | --- | --- | --- | --- |",
        *[
            f"| `{one.caip2}` | {one.name} | `{one.token_address}` | {one.token_name}, {one.token_version} "
            f"| {one.token_decimals} |"
            for one in NETWORKS.values()
        ],
        "",
        "A payment grants credits once it is so final:",
        "",
        "| network | amount | grants when |",
        "| --- | --- | --- |",
        *[line for network in NETWORKS.values() for line in _policy(network)],
        "",
        "On Base a block comes each 2 seconds; `safe` is about 2 minutes behind, `finalized` about 20.",
        "`PURSER_X402_FINALITY` replaces the policy; that of Base is, as JSON,",
        '`[[100, 3], [10000, "safe"], [null, "finalized"]]`.',
        "Until its block is `finalized` a granted payment is watched; what a reorganization takes out is taken back",
        "([settlement-states.md](settlement-states.md)).",
        "",
    ]
    return "\n".join(lines)


def _policy(network: Network) -> list[str]:
    lines, above = [], 0
    for up_to, finality in network.finality:
        parts = ["above " + _dollars(above, network)] if above else []
        parts += ["up to " + _dollars(up_to, network)] if up_to is not None else []
        lines.append(f"| `{network.caip2}` | {', '.join(parts) or 'any'} | {_when(finality)} |")
        above = up_to or above
    return lines


def _dollars(atomic: int, network: Network) -> str:
    return f"{atomic // 10**network.token_decimals:,} USDC"


def _when(finality: Finality) -> str:
    if isinstance(finality, Confirmations):
        return f"{finality.blocks} blocks, its own and those behind it" if finality.blocks > 1 else "it is in a block"
    return f"its block is no later than the chain's `{finality}`"


def refusals() -> str:
    """Every refusal with its HTTP status and what to do."""
    lines = [
        "# Refusals",
        "",
        _NOTE.format(source="billing/refusals.py"),
        "",
        "In order of precedence: where several apply, the first is answered. *Retryable*: the same request is worth",
        "sending again, after `recovery.retry_after_seconds`. *Freezes the key*: under this idempotency key it is",
        "answered so for ever; go on with a fresh one. *Exit* is what the public client ends with, by the header",
        f"`x-image-skill-exit-code` or else by the status ({EXIT_OF_STATUS}). Which operation gives which stands in",
        "`GET /openapi.json`.",
        "",
        *full_table(Refusal),
        "",
    ]
    return "\n".join(lines)


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


DOCUMENTS = {
    "attempt-states.md": attempt_states,
    "job-states.md": job_states,
    "networks.md": networks,
    "refusals.md": refusals,
    "settings.md": settings,
    "settlement-states.md": settlement_states,
}


def main() -> None:
    """Write them all, and what the service serves to `tests/golden`."""
    for name, draw in DOCUMENTS.items():
        (FOLDER / name).write_text(draw(), encoding="utf-8")
    for name, text in served.documents().items():
        (served.FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

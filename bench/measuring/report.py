"""A row's findings as a table for people and as JSON for programs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.measuring.claims import Claim
from bench.measuring.latency import Latency, lower_edge_s, summarize
from bench.rounds import Measured


@dataclass(frozen=True, slots=True)
class Verified:
    """What was checked after the run and what did not fit; nothing, when all is well."""

    contender: str
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Findings:
    """What a row found: contenders, claims about them, and that the books are right afterwards."""

    contenders: Sequence[Measured]
    claims: Sequence[Claim]
    verified: Sequence[Verified]
    notes: Sequence[str] = ()
    more: dict[str, Any] = field(default_factory=dict)


def table(title: str, around: dict[str, Any], findings: Findings) -> str:
    """The findings as Markdown."""
    summaries = [(one, summarize(one.latencies)) for one in findings.contenders]
    lines = [
        f"## {title}",
        "",
        _where(around),
        "",
        "| contender | median of rounds | spread | p50 ms | p99 ms | p99.9 ms | origin |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(_contender_line(one, latency) for one, latency in summaries),
    ]
    if findings.claims:
        lines += ["", "| claim | median | spread | goal | |", "| --- | --- | --- | --- | --- |"]
        lines += [_claim_line(claim) for claim in findings.claims]
    lines += ["", *(f"{note}" for note in findings.notes), *(_verified_line(one) for one in findings.verified)]
    return "\n".join(lines)


def _where(around: dict[str, Any]) -> str:
    machine, versions, load = around["machine"], around["versions"], around["load_average"]
    return (
        f"{around['date']}, {machine['cores']} × {machine['cpu']}, PostgreSQL {versions['postgresql']}, "
        f"Python {versions['python']}, commit {versions['commit']}, "
        f"load average {load['before'][0]:.1f} before and {load['after'][0]:.1f} after"
    )


def as_json(row: str, title: str, around: dict[str, Any], findings: Findings) -> dict[str, Any]:
    """The findings as a value that JSON can carry. Times are in milliseconds; a bucket ends where the next begins."""
    return {
        "row": row,
        "title": title,
        **around,
        "contenders": [_contender_json(one) for one in findings.contenders],
        "claims": [
            {
                "what": claim.what,
                "median": claim.median,
                "per_round": list(claim.values),
                "goal": claim.goal,
                "reached": claim.reached,
            }
            for claim in findings.claims
        ],
        "verified": [{"contender": one.contender, "problems": list(one.problems)} for one in findings.verified],
        "notes": list(findings.notes),
        **findings.more,
    }


def _contender_line(one: Measured, latency: Latency | None) -> str:
    middle, low, high = (_number(value) for value in (statistics.median(one.values), min(one.values), max(one.values)))
    times = [f"{1000 * s:.2f}" for s in (latency.p50_s, latency.p99_s, latency.p999_s)] if latency else ["", "", ""]
    spread = f"{low} – {high}" if len(one.values) > 1 else ""
    return f"| {' | '.join([one.name, f'{middle} {one.unit}', spread, *times, one.origin])} |"


def _claim_line(claim: Claim) -> str:
    low, high = _number(min(claim.values)), _number(max(claim.values))
    return f"| {claim.what} | {_number(claim.median)} {claim.unit} | {low} – {high} | {claim.goal} | {claim.reached} |"


def _verified_line(one: Verified) -> str:
    return f"{one.contender}: {'; '.join(one.problems) or 'checked afterwards, and everything fits'}"


def _contender_json(one: Measured) -> dict[str, Any]:
    latency = summarize(one.latencies)
    return {
        "name": one.name,
        "origin": one.origin,
        "unit": one.unit,
        "median": statistics.median(one.values),
        "spread": [min(one.values), max(one.values)],
        "per_round": list(one.values),
        "latency": _latency_json(latency) if latency else None,
    }


def _latency_json(latency: Latency) -> dict[str, Any]:
    return {
        "requests": latency.count,
        "p50_ms": round(1000 * latency.p50_s, 3),
        "p99_ms": round(1000 * latency.p99_s, 3),
        "p999_ms": round(1000 * latency.p999_s, 3),
        "max_ms": round(1000 * latency.max_s, 3),
        "requests_by_bucket_from_ms": {
            f"{1000 * lower_edge_s(number):.3g}": requests
            for number, requests in enumerate(latency.buckets)
            if requests
        },
    }


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"

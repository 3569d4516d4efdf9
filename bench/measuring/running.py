"""One row, from the command line to its files: `<row>.json` and `<row>.png`, and the table on the screen."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import uvloop

from bench.measuring import machine
from bench.measuring.drawing import draw
from bench.measuring.latency import summarize
from bench.measuring.report import Findings, as_json, table
from bench.measuring.stage import Stage, filesystem, staged
from bench.rounds import ROUNDS

RESULTS: Final = Path(__file__).parents[1] / "results"
SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Options:
    """What a person may choose. `numbers` are those of the row, by name."""

    rounds: int = ROUNDS
    seconds: float = SECONDS
    pgledger: Path | None = None
    folder: Path | None = None
    output: Path = RESULTS
    numbers: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table *Speed to reach*. `numbers` are its own options: name, default and what it says of it."""

    name: str
    title: str
    measure: Callable[[Stage, Options], Awaitable[Findings]]
    numbers: Mapping[str, tuple[int, str]] = field(default_factory=dict)


def main(row: Row) -> None:
    """Measure `row` as the command line asks. Exit status 1 when the books are not right afterwards."""
    found = run(row, options_of([row], row.title))
    sys.exit(0 if is_right(found) else 1)


def run(row: Row, options: Options) -> dict[str, Any]:
    """Measure, write both files, print the table; the content of the JSON."""
    chosen = Options(
        rounds=options.rounds,
        seconds=options.seconds,
        pgledger=options.pgledger,
        folder=options.folder,
        output=options.output,
        numbers={name: default for name, (default, _) in row.numbers.items()} | dict(options.numbers),
    )
    with staged(options.folder) as stage:
        around = _around(stage, chosen)
        findings = uvloop.run(_measure(row, stage, chosen))
    around["load_average"]["after"] = machine.load_average()
    options.output.mkdir(parents=True, exist_ok=True)
    found = as_json(row.name, row.title, around, findings)
    text = json.dumps(found, indent=1, ensure_ascii=False)
    (options.output / f"{row.name}.json").write_text(text + "\n", encoding="utf-8")
    _draw(options.output / f"{row.name}.png", row.title, findings)
    print(table(row.title, around, findings), flush=True)
    return found


def is_right(found: Mapping[str, Any]) -> bool:
    """Whether everything that was written was verified, and fits."""
    return bool(found["verified"]) and not any(one["problems"] for one in found["verified"])


def options_of(rows: Sequence[Row], description: str) -> Options:
    """The options that the command line gives; those of a row are named after it where several rows have one."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="interleaved rounds (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="length of a turn (default: %(default)s)")
    parser.add_argument("--pgledger", type=Path, help="pgledger's checkout (default: our re-implementation)")
    parser.add_argument("--folder", type=Path, help="where PostgreSQL writes (default: the folder of temporary files)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the files go (default: bench/results)")
    for name, (default, meaning) in {name: one for row in rows for name, one in row.numbers.items()}.items():
        parser.add_argument(f"--{name}", type=int, default=None, help=f"{meaning} (default: {default})")
    given = vars(parser.parse_args())
    shared = {name: given.pop(name) for name in ("rounds", "seconds", "pgledger", "folder", "output")}
    own = {name.replace("_", "-"): value for name, value in given.items() if value is not None}
    return Options(**shared, numbers=own)


async def _measure(row: Row, stage: Stage, options: Options) -> Findings:
    return await row.measure(stage, options)


def _around(stage: Stage, options: Options) -> dict[str, Any]:
    """Everything that a number needs beside it to mean something."""
    return {
        "date": machine.today(),
        "machine": machine.machine() | {"filesystem": filesystem(stage.server.data_dir)},
        "versions": machine.versions(stage.server),
        "postgresql_settings": machine.settings(stage.server),
        "load_average": {"before": machine.load_average()},
        "options": {"rounds": options.rounds, "seconds": options.seconds, **options.numbers},
    }


def _draw(file: Path, title: str, findings: Findings) -> None:
    panels = [(one.name, latency) for one in findings.contenders if (latency := summarize(one.latencies))]
    if panels:
        draw(file, title, panels)

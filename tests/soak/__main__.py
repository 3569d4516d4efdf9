"""The soak: hundreds of attempts on both rails while everything goes wrong, and then every number is compared.

    python -m tests.soak [--seed N] [--attempts 300] [--minutes 6] [--report FILE]

Exit status 1 when anything differs. `docs/soak.md` says what it does and shows a report.

Map
    book        an oracle: what one organization has, written from the design and not from our code
    steps       what agents, payers, banks and operators may do, as frozen values
    plan        all of it drawn from a seed, with the faults; the oracle says what each step must end in
    drawing     how one agent's part of the plan is drawn
    waits       which waits of the service are shortened, so that a day fits into minutes
    process     the server and the worker as they run in production, with those waits
    stage       PostgreSQL, sandbox, server and worker: started, killed, started again
    driver      agents that live their part of the plan, and try again as documented
    buying, reversing   what the steps do over HTTP and at the sandbox
    storm       letters misdelivered, calls broken, processes killed, payouts, at planned moments
    stripe      the sandbox's side of the numbers, read through Stripe's API
    ours        our side of the numbers, read as the owner of the database
    checks      the two compared
    report      the page at the end
    running     one soak from plan to report
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.soak.plan import draw
from tests.soak.running import soak


def main() -> int:
    """Run one soak; its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=20261121)
    parser.add_argument("--attempts", type=int, default=300)
    parser.add_argument(
        "--minutes", type=float, default=6.0, help="agents that did not begin within these are left out"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the page there too")
    parser.add_argument("--keep-logs", type=Path, metavar="FOLDER", help="keep what server and worker logged")
    asked = parser.parse_args()
    report = soak(draw(asked.seed, asked.attempts), minutes=asked.minutes, logs=asked.keep_logs)
    print(report.text())
    if asked.report is not None:
        asked.report.write_text(report.text() + "\n", encoding="utf-8")
    return 1 if report.differences else 0


if __name__ == "__main__":
    sys.exit(main())

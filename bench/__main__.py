"""Every row, one after another, each on a server of its own: `python -m bench`. At the end, all claims in one table."""

from __future__ import annotations

import sys
from typing import Any, Final

from bench import (
    batches,
    batches_with_purchases,
    bytes_per_spend,
    exporting,
    grants,
    growth,
    hot_book,
    http_spends,
    open_lots,
    single_spends,
    spends_10_books,
    spends_50_books,
    verifying,
    x402_purchases,
    zipf,
)
from bench.measuring.running import is_right, options_of, run

ROWS: Final = (
    spends_50_books.ROW,
    spends_10_books.ROW,
    hot_book.ROW,
    zipf.ROW,
    single_spends.ROW,
    batches.ROW,
    batches_with_purchases.ROW,
    open_lots.ROW,
    http_spends.ROW,
    x402_purchases.ROW,
    bytes_per_spend.ROW,
    growth.ROW,
    verifying.ROW,
    exporting.ROW,
    grants.ROW,
)


def main() -> None:
    """Measure every row. Exit status 1 when one could not be measured, or its books are not right afterwards."""
    options = options_of(ROWS, "Every row of the bench.")
    found: list[dict[str, Any]] = []
    failed: list[str] = []
    for row in ROWS:
        print(f"\n{row.title} …", flush=True)
        try:
            measured = run(row, options)
        except Exception as error:  # noqa: BLE001 - the other rows are measured nevertheless, and the status tells
            failed.append(f"{row.name}: {type(error).__name__}: {error}")
            continue
        found.append(measured)
        if not is_right(measured):
            failed.append(f"{row.name}: the books are not right afterwards")
    print("\n".join(_summary(found)))
    print("".join(f"\nFAILED {one}" for one in failed))
    sys.exit(1 if failed else 0)


def _summary(found: list[dict[str, Any]]) -> list[str]:
    lines = ["", "| row | claim | median | goal | |", "| --- | --- | --- | --- | --- |"]
    for row in found:
        lines += [
            f"| {row['title']} | {claim['what']} | {claim['median']:,.2f} | {claim['goal']} | {claim['reached']} |"
            for claim in row["claims"]
        ]
    return lines


if __name__ == "__main__":
    main()

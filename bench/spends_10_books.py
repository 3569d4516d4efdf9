"""Single spends by 20 workers over 10 books, against pgledger's own check: `python -m bench.spends_10_books`."""

from __future__ import annotations

from functools import partial

from bench.against_pgledger import measure
from bench.measuring.running import Row, main

ROW = Row(
    "spends_10_books",
    "Single spends, 20 workers, 10 books",
    partial(measure, books=10, first=10, second=12),
)

if __name__ == "__main__":
    main(ROW)

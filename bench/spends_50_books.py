"""Single spends by 20 workers over 50 books, against pgledger's own check: `python -m bench.spends_50_books`."""

from __future__ import annotations

from functools import partial

from bench.against_pgledger import measure
from bench.measuring.running import Row, main

ROW = Row(
    "spends_50_books",
    "Single spends, 20 workers, 50 books",
    partial(measure, books=50, first=8, second=10),
)

if __name__ == "__main__":
    main(ROW)

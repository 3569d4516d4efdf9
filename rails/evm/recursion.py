"""Keeping how deep Python may recurse.

`py_ecc`, which `eth_account` and with it `web3` imports, raises the limit of the whole process to 100,000 calls. The C
stack does not hold that many: from then on a body of nested brackets, sent by anybody to any route that reads JSON,
would end the process instead of raising `RecursionError`. Both packages are imported inside `limit_kept`.
Source: py_ecc 8.0.0, `py_ecc/__init__.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def limit_kept() -> Iterator[None]:
    """Whatever is imported inside, the limit is afterwards what it was before."""
    before = sys.getrecursionlimit()
    try:
        yield
    finally:
        sys.setrecursionlimit(before)

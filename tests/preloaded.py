"""What the programs of `tests/programs.py` import, once for all of them."""

import gc

import granian.server.mp
import pytest

import api.cli
import api.http.app
import sandbox.__main__

__all__ = ["api", "granian", "pytest", "sandbox"]

gc.freeze()  # a collection in a fork would copy every page that it looks at

"""What the programs of `tests/programs.py` import, once for all of them."""

import granian.server.mp
import pytest

import api.cli
import api.http.app
import sandbox.__main__

__all__ = ["api", "granian", "pytest", "sandbox"]

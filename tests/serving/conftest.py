"""Folders for services that are run as a person runs them."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder whose name has a space; removed with everything that a service kept in it or outside."""
    parent = Path(tempfile.mkdtemp(prefix="purser-serving-"))
    if os.geteuid() == 0:
        parent.chmod(0o711)
    made = parent / "an empty folder"
    made.mkdir()
    yield made
    with suppress(OSError, ValueError):
        outside = json.loads((made / ".purser" / "postgres" / "state.json").read_text()).get("outside")
        if outside:
            shutil.rmtree(outside)
    shutil.rmtree(parent)

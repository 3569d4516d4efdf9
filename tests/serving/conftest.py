"""Folders for services that are run as a person runs them, and one such service that several tests look at."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.serving.purser import Serving, serving


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for one test."""
    with empty_folder() as made:
        yield made


@pytest.fixture(scope="session")
def standing() -> Iterator[Serving]:
    """A service that no test ends, in a folder in which strangers have laid traps."""
    with empty_folder() as made:
        plant(made)
        (made / "treasure").write_text("mine")
        (made / ".purser").mkdir(mode=0o711)
        (made / ".purser" / "sandbox.log").symlink_to(made / "treasure")
        with serving(made) as service:
            yield service


PLANTED = ("segno", "signal", "multiprocessing", "structlog", "asyncpg")
"""Modules that a server process imports: ours, the interpreter's before anything of ours runs, and of others."""


def plant(folder: Path) -> None:
    """Put modules there that say in a file `ran` that somebody has run them."""
    for name in PLANTED:
        (folder / f"{name}.py").write_text(f"open({str(folder / 'ran')!r}, 'a').write({name!r})\nraise SystemExit(3)\n")


@contextmanager
def empty_folder() -> Iterator[Path]:
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

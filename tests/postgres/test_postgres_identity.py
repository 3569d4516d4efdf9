"""The server never runs as root, and reaches its files without anybody opening a folder for it."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from api.postgres import binaries
from api.postgres.connection import ask
from api.postgres.server import Server, stop

Begin = Callable[..., Any]
Start = Callable[..., Server]

NOBODY = 65_534
READ_SEARCH_ONLY = 1 << 2
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it is about what happens as root")


def _status(data_dir: Path) -> dict[str, str]:
    pid = (data_dir / "postmaster.pid").read_text().splitlines()[0]
    return dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)


def _passable(path: Path) -> bool:
    return all(place.stat().st_mode & 0o001 for place in (path, *path.parents))


@pytest.fixture(scope="module")
def ordinary() -> dict[str, Any]:
    """How `service` runs something as an ordinary user: itself, or `nobody` where these tests run as root."""
    if os.geteuid() != 0:
        return {}
    packages = Path(asyncpg.__file__).parents[1]
    if not (_passable(binaries.locate(18) / "bin") and _passable(packages) and _passable(Path(__file__).parent)):
        pytest.skip("an ordinary user cannot reach this checkout or its environment, so none can run the service")
    who = {"user": NOBODY, "group": NOBODY, "extra_groups": [], "cwd": "/", "path": str(packages)}
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        if Path(python).exists() and _passable(Path(python).resolve()):
            return {**who, "python": python}
    return pytest.skip("an ordinary user cannot reach a Python of this version on this machine")


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty private folder of the ordinary user; outside tmp_path, which is closed to others when root made it."""
    if os.geteuid() != 0:
        yield tmp_path_factory.mktemp("home")
        return
    place = Path(tempfile.mkdtemp(prefix="purser-ordinary-"))
    os.chown(place, NOBODY, NOBODY)
    yield place
    shutil.rmtree(place)


def test_runs_as_an_ordinary_user(home: Path, ordinary: dict[str, Any], service: Begin) -> None:
    begun = service(home / "pg", **ordinary)
    assert ask(begun.facts["url"], "SELECT 1") == [(1,)]
    user = ordinary.get("user", os.geteuid())
    assert {place.stat().st_uid for place in (home / "pg", home / "pg" / "cluster")} == {user}
    assert _status(home / "pg" / "cluster")["Uid"].split() == [str(user)] * 4
    begun.end()


@pytest.fixture
def hidden(tmp_path: Path) -> Path:
    """Where Python finds the wheel's binaries below a folder that only root may enter."""
    tmp_path.chmod(0o700)
    site, install = tmp_path / "site", binaries.locate(18)
    package = install.parent
    shutil.copytree(install, site / package.name / install.name, ignore=shutil.ignore_patterns("include"))
    shutil.copytree(package.with_name(f"{package.name}.libs"), site / f"{package.name}.libs")
    (site / package.name / "__init__.py").touch()
    return site


@as_root
def test_below_a_folder_of_root_it_keeps_one_capability_and_no_other(
    tmp_path: Path, hidden: Path, service: Begin
) -> None:
    begun = service(tmp_path / "pg", path=str(hidden))
    data_dir = Path(begun.facts["data_dir"])
    status = _status(data_dir)
    assert status["Uid"].split() == [str(NOBODY)] * 4
    for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[kind], 16) == READ_SEARCH_ONLY, kind
    assert data_dir == tmp_path / "pg" / "cluster"
    assert data_dir.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "pg" / "password").stat().st_uid == 0
    assert tmp_path.stat().st_mode & 0o777 == 0o700


@as_root
def test_in_a_folder_that_others_may_pass_it_keeps_no_capability(home: Path, start: Start) -> None:
    if not _passable(binaries.locate(18) / "bin"):
        pytest.skip("the environment is below a private folder, so the capability is needed for the binaries")
    os.chown(home, 0, 0)
    home.chmod(0o755)
    server = start(home / "pg")
    assert int(_status(server.data_dir)["CapPrm"], 16) == 0
    stop(server)


@as_root
def test_the_owner_of_a_directory_can_go_on_after_root(home: Path, ordinary: dict[str, Any], service: Begin) -> None:
    by_root = service(home)
    assert _status(home / "cluster")["Uid"].split()[0] == str(NOBODY)
    by_root.end()
    by_owner = service(home, **ordinary)
    assert by_owner.facts == by_root.facts
    by_owner.end()


@pytest.mark.long
@as_root
def test_without_the_capability_it_lives_outside_and_is_found_again(
    tmp_path: Path, hidden: Path, service: Begin
) -> None:
    first = service(tmp_path / "pg", "--without-capability", path=str(hidden))
    data_dir = Path(first.facts["data_dir"])
    try:
        assert tmp_path not in data_dir.parents
        assert str(data_dir) in b"".join(first.lines[:-1]).decode(), "its place is named in the output"
        assert int(_status(data_dir)["CapPrm"], 16) == 0
        assert (data_dir.parent.stat().st_mode & 0o777, data_dir.parent.stat().st_uid) == (0o700, NOBODY)
        ask(first.facts["url"], "CREATE TABLE kept AS SELECT 9 AS n")
        first.end()
        second = service(tmp_path / "pg")
        assert second.facts == first.facts
        assert ask(second.facts["url"], "SELECT n FROM kept") == [(9,)]
        second.end()
    finally:
        shutil.rmtree(data_dir.parent)


@pytest.mark.long
@as_root
def test_a_directory_outside_that_somebody_else_made_is_refused(tmp_path: Path, service: Begin) -> None:
    tmp_path.chmod(0o700)
    first = service(tmp_path / "pg", "--without-capability")
    first.end()
    outside = Path(first.facts["data_dir"]).parent
    try:
        shutil.rmtree(tmp_path / "pg")  # nothing says any more that the place outside is ours
        assert "is not ours" in service(tmp_path / "pg", "--without-capability").facts["refused"]
        assert (outside / "cluster").exists()
        os.chown(outside, 0, 0)
        shutil.rmtree(outside / "cluster")
        assert "is not ours" in service(tmp_path / "pg", "--without-capability").facts["refused"]
    finally:
        shutil.rmtree(outside)


@pytest.mark.long
@as_root
def test_in_a_folder_of_an_ordinary_user_no_capability_is_kept_for_its_owner_has_the_password(
    home: Path, hidden: Path, service: Begin
) -> None:
    home.chmod(0o700)
    os.chown(home, NOBODY, NOBODY)
    (home / "its own").mkdir()
    os.chown(home / "its own", NOBODY, NOBODY)
    for folder in ("made by root", "its own"):  # the binaries are out of that user's reach
        _lives_without(service(home / folder, path=str(hidden)))


def _lives_without(begun: Any) -> None:
    data_dir = Path(begun.facts["data_dir"])
    try:
        assert int(_status(data_dir)["CapPrm"], 16) == 0
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            ask(begun.facts["url"], "SELECT pg_read_file('/etc/shadow')")
        begun.end()
    finally:
        shutil.rmtree(data_dir.parent)


@pytest.mark.long
@as_root
def test_a_cluster_that_only_the_capability_reaches_is_refused_in_a_folder_of_an_ordinary_user(
    tmp_path: Path, service: Begin
) -> None:
    first = service(tmp_path / "pg")
    first.end()
    for place in (tmp_path / "pg", *(tmp_path / "pg").iterdir()):
        os.chown(place, NOBODY, NOBODY)
    tmp_path.chmod(0o700)
    refused = service(tmp_path / "pg").facts["refused"]
    assert f"{tmp_path / 'pg'} is not root's alone" in refused
    assert "run this program as the directory's owner" in refused

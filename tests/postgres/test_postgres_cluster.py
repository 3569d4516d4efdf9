"""One cluster serves a whole test run, all its workers, and is gone afterwards."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFTEST = """
import pytest
from tests import postgres_cluster as cluster
pytest_addoption = cluster.add_options
pytest_configure = cluster.configure
pytest_unconfigure = cluster.unconfigure
@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node): cluster.configure_node(node)
"""
TESTS = """
import pytest
from api.postgres.connection import ask
from tests import postgres_cluster
@pytest.mark.parametrize("n", range(4))
def test_it(pytestconfig, n):
    server = postgres_cluster.server(pytestconfig)
    version = ask(server.url(), "SELECT current_setting('server_version_num')")[0][0]
    with open("seen", "a") as seen:
        seen.write(f"{version[:2]} {server.port} {server.data_dir}\\n")
"""


@pytest.mark.long
def test_one_cluster_per_run_is_shared_and_removed(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(TESTS)
    options = ["-q", "-p", "xdist", "-n2", "--postgres-version=16", "-p", "no:cacheprovider", f"--rootdir={tmp_path}"]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options, tmp_path],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert re.search("4 passed", ran.stdout), ran.stdout + ran.stderr
    [seen] = set((tmp_path / "seen").read_text().splitlines())
    assert seen.split()[0] == "16"
    assert not Path(seen.split(maxsplit=2)[2]).parents[1].exists()

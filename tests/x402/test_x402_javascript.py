"""How the JavaScript client is had: pinned, whole, or said to be missing."""

import json
import os
import shutil

import pytest

from tests.evm.anvil import NotHere
from tests.x402 import javascript
from tests.x402.javascript import HERE, MANIFESTS

VIEM = "node_modules/viem"
LOCK = {"name": "a", "lockfileVersion": 3, "packages": {"": {"name": "a"}, VIEM: {"version": "2.57.0"}}}


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setattr(javascript, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def npm(monkeypatch, tmp_path, cache):
    """`npm(script)`: what stands for npm here; Node says that it is one of these days."""
    manifests, programs = tmp_path / "manifests", tmp_path / "programs"
    manifests.mkdir()
    programs.mkdir()
    monkeypatch.setattr(javascript, "HERE", manifests)
    (manifests / "package.json").write_text("{}")
    (manifests / "package-lock.json").write_text(json.dumps(LOCK))
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")

    def write(script, *, node="echo v20.1.0"):
        for program, lines in (("npm", script), ("node", node)):
            (programs / program).write_text(f"#!/bin/sh\n{lines}\n")
            (programs / program).chmod(0o755)

    return write


def installing(version):
    return f'mkdir -p {VIEM} && echo \'{{"version": "{version}"}}\' > {VIEM}/package.json && echo ran >> $HOME/ran'


def test_the_lock_file_pins_every_package_and_names_no_host():
    lock = json.loads((HERE / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages["node_modules/@x402/fetch"]["version"] == packages["node_modules/@x402/evm"]["version"] == "2.27.0"
    assert packages[VIEM]["version"] == "2.57.0"
    assert all("integrity" in entry and "resolved" not in entry for entry in packages.values())


def test_without_npm_the_reason_is_said(monkeypatch, tmp_path, cache):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotHere, match="Node and npm"):
        javascript.npm_packages()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        pytest.param("mkdir node_modules; echo 'npm error code E404' >&2; exit 1", "npm error code E404", id="refused"),
        pytest.param("mkdir node_modules", f"left out .*{VIEM}", id="left-out"),
        pytest.param(installing("2.57.1"), f"left out .*{VIEM}", id="another-version"),
    ],
)
def test_what_npm_cannot_get_is_said_and_nothing_half_made_stays(monkeypatch, tmp_path, cache, npm, script, reason):
    monkeypatch.setenv("HOME", str(tmp_path))
    npm(script)
    with pytest.raises(NotHere, match=reason):
        javascript.npm_packages()
    assert list(cache.iterdir()) == []


def test_an_old_node_is_not_tried(npm):
    npm("exit 1", node="echo v16.20.0")
    with pytest.raises(NotHere, match="needs Node 18"):
        javascript.npm_packages()


def test_what_is_installed_is_used_again_and_what_is_damaged_or_of_another_lock_is_not(monkeypatch, tmp_path, npm):
    monkeypatch.setenv("HOME", str(tmp_path))
    npm(installing("2.57.0"))
    first = javascript.npm_packages()
    assert javascript.npm_packages() == first
    assert runs(tmp_path) == 1
    shutil.rmtree(first / "viem")
    assert javascript.npm_packages() == first
    assert ((first / "viem").exists(), runs(tmp_path)) == (True, 2)
    for name in MANIFESTS:
        (javascript.HERE / name).write_text((javascript.HERE / name).read_text() + "\n")
    assert javascript.npm_packages() != first
    assert runs(tmp_path) == 3


def runs(home):
    return (home / "ran").read_text().count("ran")

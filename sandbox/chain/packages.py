"""anvil from npm, pinned by package-lock.json. Node is needed to install it, not to run it.

What is installed lies in the user's cache under the lock's hash, so that a second run, a second process and a second
checkout find it there.
"""

from __future__ import annotations

import fcntl
import hashlib
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
CACHE: Final = Path.home() / ".cache" / "purser" / "evm"
MANIFESTS: Final = ("package.json", "package-lock.json")
PLATFORMS: Final = {
    ("Linux", "x86_64"): "linux-amd64",
    ("Linux", "aarch64"): "linux-arm64",
    ("Darwin", "x86_64"): "darwin-amd64",
    ("Darwin", "arm64"): "darwin-arm64",
}
INSTALL_TIMEOUT_S: Final = 180.0
LOCK_TIMEOUT_S: Final = 200.0
"""Longer than an installation, which another process may just be doing."""


class NotHere(Exception):
    """This machine cannot have the packages; the text says why."""


def anvil_binary() -> Path:
    """Where the pinned anvil is, installed when needed. Raises `NotHere`."""
    return npm_packages() / _platform_package() / "bin" / "anvil"


def npm_packages() -> Path:
    """The `node_modules` that package-lock.json describes, installed once for all processes. Raises `NotHere`."""
    manifests = b"".join((HERE / name).read_bytes() for name in MANIFESTS)
    place = CACHE / hashlib.sha256(manifests).hexdigest()[:16]
    if not place.exists():
        with alone():
            if not place.exists():
                _install(place)
    return place / "node_modules"


def _platform_package() -> str:
    machine = (platform.system(), platform.machine())
    if machine not in PLATFORMS:
        raise NotHere(f"npm has no anvil for {' '.join(machine)}")
    return f"@foundry-rs/anvil-{PLATFORMS[machine]}"


@contextmanager
def alone() -> Iterator[None]:
    """One process of this user at a time; the kernel lets go when it dies. Raises `NotHere`."""
    try:
        CACHE.mkdir(parents=True, exist_ok=True)
        lock = (CACHE / "lock").open("w")
    except OSError as error:
        raise NotHere(f"the cache folder cannot be written: {error}") from error
    with lock:
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise NotHere("another process has been installing the packages for minutes") from None
                time.sleep(0.1)
        yield


def _install(place: Path) -> None:
    """Beside the place and then renamed, so that what is there is whole. No script of any package runs.

    The binary is an optional package: npm is content without it when the index lacks it, when the network failed and
    when its hash is not the lock's. Then nothing is kept, so that the next run tries again.
    """
    wanted = _platform_package()
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise NotHere("Node and npm, which install anvil, are not installed")
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=30000"]
    with tempfile.TemporaryDirectory(prefix="install-", dir=CACHE) as folder:
        made = Path(folder) / "made"
        made.mkdir()
        for name in MANIFESTS:
            shutil.copy(HERE / name, made)
        try:
            ran = subprocess.run(  # noqa: S603 - npm, with what stands in this file
                command, cwd=made, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise NotHere(f"npm did not finish in {INSTALL_TIMEOUT_S:.0f} s") from None
        if ran.returncode != 0:
            said = [line for line in ran.stderr.splitlines() if "error" in line]
            raise NotHere(f"npm could not get the packages ({'; '.join(said[:2]) or ran.returncode})")
        if not (made / "node_modules" / wanted / "bin" / "anvil").exists():
            raise NotHere(f"npm left {wanted} out: the index lacks it, or what it has is not what the lock file pins")
        made.rename(place)

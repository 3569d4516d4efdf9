"""The stock JavaScript client of x402: npm's packages as client-js/package-lock.json pins them, and requests by it.

What is installed lies in the user's cache under the hash of the manifests, so that other versions never stand in for
these. It is looked through before every use, because half of a package is worse than none.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from sandbox.chain.packages import INSTALL_TIMEOUT_S, NotHere, alone
from tests.x402.paying import Paid, WouldNotPay

HERE = Path(__file__).parent / "client-js"
CACHE = Path.home() / ".cache" / "purser" / "x402-clients"
MANIFESTS = ("package.json", "package-lock.json")
SCRIPT = "pay.mjs"
NODE_MAJOR_MIN = 18  # the first with `fetch`
NODE_TIMEOUT_S = 180.0


@dataclass(frozen=True)
class JavaScriptClient:
    """`@x402/fetch` with `@x402/evm`, in a process of its own for each call."""

    folder: Path

    def pay(
        self,
        url: str,
        *,
        key: str,
        json_body: Any = None,
        headers: Mapping[str, str] | None = None,
        max_amount: str | None = None,
        method: str = "POST",
        sign_in: bool = False,
        network: str = "eip155:*",
    ) -> Paid:
        """Ask for `url`, and pay for it with `key` when it costs something. Raises `WouldNotPay`.

        `max_amount` ("$20") lifts what the client pays at most at once; without it the client's own limit holds.
        """
        body = None if json_body is None else json.dumps(json_body)
        asked = {
            "url": url,
            "method": method,
            "headers": {**({"content-type": "application/json"} if body is not None else {}), **(headers or {})},
            "body": body,
            "privateKey": key,
            "network": network,
            "spendControls": None if max_amount is None else {"maxAmountPerPayment": max_amount},
            "signIn": sign_in,
        }
        said = self._run(json.dumps(asked))
        if "error" in said:
            raise WouldNotPay(said["error"])
        # `fetch` has undone any compression, and the headers still speak of it.
        kept = {name: value for name, value in said["headers"].items() if name != "content-encoding"}
        answer = httpx.Response(
            said["status"], headers=kept, content=said["body"].encode(), request=httpx.Request(method, url)
        )
        return Paid(answer=answer, payments=tuple(said["payments"]))

    def _run(self, asked: str) -> dict[str, Any]:
        ran = subprocess.run(
            ["node", SCRIPT],
            cwd=self.folder,
            input=asked,
            capture_output=True,
            text=True,
            timeout=NODE_TIMEOUT_S,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        said: dict[str, Any] = json.loads(ran.stdout)
        return said


@contextmanager
def javascript_client() -> Iterator[JavaScriptClient]:
    """The client, for the length of the block. Raises `NotHere`."""
    with _beside_the_packages(HERE / SCRIPT) as folder:
        yield JavaScriptClient(folder)


@contextmanager
def _beside_the_packages(script: Path) -> Iterator[Path]:
    """A folder with the script and a link to the packages: that is how Node finds them. Raises `NotHere`."""
    packages = npm_packages()
    with tempfile.TemporaryDirectory(prefix="purser-js-") as made:
        folder = Path(made)
        shutil.copy(script, folder)
        (folder / "node_modules").symlink_to(packages, target_is_directory=True)
        yield folder


def main() -> int:
    """`make buy CLIENT=javascript`: run a script that uses the packages; its exit status, or 3 without them."""
    script = Path(sys.argv[1])
    try:
        with _beside_the_packages(script) as folder:
            return subprocess.run(["node", script.name, *sys.argv[2:]], cwd=folder, check=False).returncode
    except NotHere as why:
        print(f"NOT RUN: {why}", file=sys.stderr)
        return 3


def npm_packages() -> Path:
    """The `node_modules` that package-lock.json describes, complete. Raises `NotHere`."""
    _check_node()
    manifests = b"".join((HERE / name).read_bytes() for name in MANIFESTS)
    place = CACHE / hashlib.sha256(manifests).hexdigest()[:16]
    with alone():
        if _missing(place):
            shutil.rmtree(place, ignore_errors=True)
            _install(place)
    return place / "node_modules"


def _check_node() -> None:
    if shutil.which("npm") is None or shutil.which("node") is None:
        raise NotHere("Node and npm, which the JavaScript client of x402 needs, are not installed")
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, timeout=NODE_TIMEOUT_S, check=False)
    major = said.stdout.strip().removeprefix("v").partition(".")[0]
    if not major.isdigit() or int(major) < NODE_MAJOR_MIN:
        raise NotHere(f"the JavaScript client of x402 needs Node {NODE_MAJOR_MIN}; here is {said.stdout.strip()!r}")


def _missing(place: Path) -> list[str]:
    """Which packages of the lock are not there in their version."""
    lock = json.loads((HERE / "package-lock.json").read_text(encoding="utf-8"))
    wanted = {name: entry["version"] for name, entry in lock["packages"].items() if name}
    return [name for name, version in wanted.items() if _version(place / name) != version]


def _version(package: Path) -> str | None:
    try:
        return str(json.loads((package / "package.json").read_bytes())["version"])
    except (OSError, ValueError, KeyError):
        return None


def _install(place: Path) -> None:
    """Beside the place and then renamed, so that what is there is whole. No script of any package runs."""
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=30000"]
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="install-", dir=CACHE) as folder:
        made = Path(folder) / "made"
        made.mkdir()
        for name in MANIFESTS:
            shutil.copy(HERE / name, made)
        try:
            ran = subprocess.run(
                command, cwd=made, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise NotHere(f"npm did not finish in {INSTALL_TIMEOUT_S:.0f} s") from None
        if ran.returncode != 0:
            said = [line for line in ran.stderr.splitlines() if "error" in line]
            raise NotHere(f"npm could not get the packages ({'; '.join(said[:2]) or ran.returncode})")
        if missing := _missing(made):
            raise NotHere(f"npm left out what the lock file pins: {', '.join(missing)}")
        made.rename(place)


if __name__ == "__main__":
    sys.exit(main())

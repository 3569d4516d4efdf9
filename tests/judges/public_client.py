"""The public agent CLI, unmodified, in both versions.

It is not ours and not in this repository. Put `image-skill-cli` of each version below `~/.cache/purser/public-client/`
(`…/0.1.30/bin/image-skill.mjs`); without it, or without Node, what it judges is NOT RUN.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

VERSIONS = ("0.1.30", "0.1.70")
RUN_S = 180
PLACE = Path.home() / ".cache" / "purser" / "public-client"


def missing(version: str) -> str | None:
    """Why a version cannot be run here; none when it can."""
    if shutil.which("node") is None:
        return "the public client needs Node, which is not installed"
    if not (PLACE / version / "bin" / "image-skill.mjs").exists():
        return f"the public client {version} is not in {PLACE}"
    return None


class Client:
    """One version of the client with a configuration of its own, speaking to one service."""

    def __init__(self, version: str, folder: Path, url: str, *, token: str | None = None) -> None:
        self._program = PLACE / version / "bin" / "image-skill.mjs"
        self._environment = {
            "PATH": "/usr/bin:/bin:/usr/local/bin",
            "HOME": str(folder),
            "IMAGE_SKILL_CONFIG_PATH": str(folder / "config.json"),
            **({"IMAGE_SKILL_TOKEN": token} if token is not None else {}),
        }
        self._url = url

    def run(self, *words: str, exits: int = 0) -> Any:
        """The data of a success, or the error of a refusal: `exits` says which is expected."""
        answer = json.loads(self.said(*words, exits=exits))
        assert answer["ok"] is (exits == 0)
        return answer["data"] if exits == 0 else answer["error"]

    def said(self, *words: str, exits: int = 0) -> str:
        """All that it prints."""
        command = [shutil.which("node") or "node", str(self._program), *words, "--json", "--api-base-url", self._url]
        ran = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=RUN_S, check=False)
        assert ran.returncode == exits, (words, ran.returncode, ran.stdout, ran.stderr)
        return ran.stdout

"""The cluster: made on first use, complete or not at all, and opened only when it is the one we may open."""

import os
import secrets
import shutil
import struct
import subprocess
from pathlib import Path

from .identity import ENVIRONMENT, Place
from .unavailable import PostgresUnavailable

INITDB_TIMEOUT_S = 120.0
_ERROR_CHARACTERS_MAX = 2_000


def exists(place: Place) -> bool:
    """Whether initdb has finished here once."""
    return (place.data_dir / "PG_VERSION").exists()


def check(place: Place, version: int) -> None:
    """Refuse a cluster of another major version or of another user."""
    found = (place.data_dir / "PG_VERSION").read_text().strip()
    if found != str(version):
        raise PostgresUnavailable(
            f"{place.data_dir} is a cluster of PostgreSQL {found} and cannot be opened by {version}; "
            f"start with version {found}, or dump it there and restore it into an empty directory"
        )
    owner = place.data_dir.stat().st_uid
    uid = os.geteuid() if place.identity.uid is None else place.identity.uid
    if owner != uid:
        raise PostgresUnavailable(
            f"{place.data_dir} belongs to uid {owner} and the server would run as uid {uid}; "
            "start it as the user who made it, or choose another directory"
        )


def create(place: Place, *, password: str, durable: bool) -> None:
    """Run initdb beside the final place and move the result there, so that a kill leaves no half cluster."""
    for leftover in place.home.glob("cluster.unfinished-*"):
        shutil.rmtree(leftover)
    # A new name each time: an initdb that was just killed with its service may still be removing the old one.
    unfinished = place.home / f"cluster.unfinished-{secrets.token_hex(4)}"
    place.identity.make_folder(unfinished)
    # In memory, not in a file: the server's uid may read it, and nothing is left behind by a kill.
    pwfile = os.memfd_create("pwfile")
    try:
        os.write(pwfile, password.encode())
        _initdb(place, unfinished, pwfile, durable=durable)
    finally:
        os.close(pwfile)
    unfinished.rename(place.data_dir)


def system_identifier(data_dir: Path) -> int:
    """The number initdb gave the cluster: the first field of `ControlFileData` (catalog/pg_control.h)."""
    with (data_dir / "global" / "pg_control").open("rb") as control:
        return int(struct.unpack("=Q", control.read(8))[0])


def _initdb(place: Place, target: Path, pwfile: int, *, durable: bool) -> None:
    options = ["--auth=scram-sha-256", "--username=postgres", "--encoding=UTF8", "--no-locale"]
    if not durable:
        options.append("--no-sync")
    command = place.identity.command(
        place.install / "bin" / "initdb", *options, f"--pwfile=/proc/self/fd/{pwfile}", f"--pgdata={target}"
    )
    try:
        made = subprocess.run(  # noqa: S603  # our launcher and the wheel's binary
            command, env=ENVIRONMENT, pass_fds=[pwfile], capture_output=True, timeout=INITDB_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise PostgresUnavailable(
            f"initdb did not finish in {INITDB_TIMEOUT_S:.0f} s in {target}; look at the disk, then start again"
        ) from None
    if made.returncode != 0:
        said = made.stderr.decode(errors="replace").strip()[-_ERROR_CHARACTERS_MAX:]
        raise PostgresUnavailable(f"initdb failed in {target}; mend what it says and start again:\n{said}")

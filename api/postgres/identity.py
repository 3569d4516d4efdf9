"""Which uid the server runs as, and from where it can reach its files.

PostgreSQL refuses root. As root the server runs as the owner of the directory, or as `nobody` where that is root. That
uid must pass through every folder above the cluster and above the binaries, and those are not ours to open up. So, in
this order, and each only when the one before does not do:

1. nothing special;
2. the capability to read and traverse (`CAP_DAC_READ_SEARCH`), and no other, where nobody but root can put other files
   into the directory's place: who knows the superuser's password can then read every file of the machine
   (`pg_read_file`), and the password belongs to the directory's owner;
3. a directory of ours outside, with a copy of the binaries where needed (containers often lack the capability).
"""

import hashlib
import os
import pwd
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import structlog

from . import binaries, launch
from .folder import Folder
from .unavailable import PostgresUnavailable

PROBE_TIMEOUT_S = 20.0
_PROBE_CWD_OUTSIDE = Path("/")
_OUTSIDE = Path("/var/lib")
# Nothing of the service's environment reaches the server: it holds secrets, and PostgreSQL reads some of it.
ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"}

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Identity:
    """A uid to become before anything runs (None: stay who we are), and the capability it keeps (0: none)."""

    uid: int | None = None
    gid: int = 0
    capability: int = 0

    def command(self, *command: str | Path, cwd: Path = Path("/")) -> list[str]:
        """The command line that runs `command` with this identity in `cwd`, to die with this process."""
        who = "-" if self.uid is None else f"{self.uid}:{self.gid}:{self.capability}"
        launcher = [sys.executable, "-I", "-S", launch.__file__, who, str(os.getpid()), str(cwd)]
        return [*launcher, *map(str, command)]

    def make_folder(self, path: Path) -> None:
        """A new, empty folder with mode 0700 that belongs to this identity."""
        path.mkdir(mode=0o700)
        if self.uid is not None:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


@dataclass(frozen=True)
class Place:
    """Where a server lives and who it is."""

    identity: Identity
    install: Path
    home: Path

    @property
    def data_dir(self) -> Path:
        """The cluster."""
        return self.home / "cluster"


def settle(folder: Folder, install: Path) -> Place:
    """Where the server of this folder lives: in it, or, where it cannot be reached there, outside."""
    if os.geteuid() != 0:
        return Place(identity=Identity(), install=install, home=folder.path)
    uid, gid = _unprivileged(folder.path)
    outside = folder.remembered().get("outside")
    if isinstance(outside, str):
        return _outside(Path(outside), install, uid, gid)
    obstacle, shared = "", _shared(folder.path)
    for capability in (0, launch.CAP_DAC_READ_SEARCH) if shared is None else (0,):
        identity = Identity(uid, gid, capability)
        obstacle = _obstacle(identity, install, folder.path)
        if not obstacle:
            return Place(identity=identity, install=install, home=folder.path)
    if (folder.path / "cluster").exists():
        if shared is not None:
            raise PostgresUnavailable(
                f"the cluster in {folder.path} cannot be reached ({obstacle}), and {shared} is not root's alone, so "
                "the server is not given the right to read every file; run this program as the directory's owner"
            )
        raise PostgresUnavailable(
            f"the cluster in {folder.path} cannot be reached ({obstacle}); "
            "give this process CAP_DAC_READ_SEARCH as it had before, or move the directory where others may pass"
        )
    return _move_outside(folder, install, uid, gid, obstacle)


def _unprivileged(path: Path) -> tuple[int, int]:
    owner = path.stat().st_uid
    try:
        account = pwd.getpwuid(owner) if owner else pwd.getpwnam("nobody")
    except KeyError:  # initdb insists on a name, so an owner without one will not do
        account = pwd.getpwnam("nobody")
    return account.pw_uid, account.pw_gid


def _shared(path: Path) -> Path | None:
    """The first folder, from `path` up, whose entries others than root may replace; none where root alone may."""
    for place in (path, *path.parents):
        status = place.stat()
        others_write = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX
        if status.st_uid != 0 or others_write:
            return place
    return None


def _obstacle(identity: Identity, install: Path, cwd: Path) -> str:
    """Why this identity cannot run the binaries in `cwd`; empty when it can. Tried, not computed."""
    command = identity.command(install / "bin" / "postgres", "-V", cwd=cwd)
    try:
        tried = subprocess.run(  # noqa: S603  # our launcher and the wheel's binary
            command, env=ENVIRONMENT, capture_output=True, timeout=PROBE_TIMEOUT_S, check=False, text=True
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {PROBE_TIMEOUT_S:.0f} s"
    return "" if tried.returncode == 0 else tried.stderr.strip() or f"exit status {tried.returncode}"


def _move_outside(folder: Folder, install: Path, uid: int, gid: int, obstacle: str) -> Place:
    base = _OUTSIDE if os.access(_OUTSIDE, os.W_OK) else Path(tempfile.gettempdir()).resolve()
    home = base / f"purser-postgres-{hashlib.sha256(os.fsencode(folder.path)).hexdigest()[:16]}"
    try:
        Identity(uid, gid).make_folder(home)
    except FileExistsError:
        # Ours when an earlier start was killed before it noted the place down; a cluster there would be unknown to us.
        if home.is_symlink() or home.stat().st_uid != uid or any(home.glob("cluster*")):
            raise PostgresUnavailable(
                f"{home} exists and is not ours ({folder.path} does not mention it); move it away"
            ) from None
    place = _outside(home, install, uid, gid)
    folder.remember(outside=str(home))
    log.warning("postgres_cluster_outside", directory=str(folder.path), data_dir=str(place.data_dir), reason=obstacle)
    return place


def _outside(home: Path, install: Path, uid: int, gid: int) -> Place:
    identity = Identity(uid, gid)
    if home.is_symlink() or not home.is_dir() or home.stat().st_uid != uid:
        raise PostgresUnavailable(f"the cluster's directory {home} is gone or belongs to another user; restore it")
    if _obstacle(identity, install, _PROBE_CWD_OUTSIDE):
        install = binaries.copy_to(install, home)
    obstacle = _obstacle(identity, install, home)
    if obstacle:
        raise PostgresUnavailable(
            f"PostgreSQL cannot run as uid {uid} ({obstacle}); run this program as an ordinary user, "
            "or give it CAP_SETUID, CAP_SETGID and CAP_CHOWN"
        )
    return Place(identity=identity, install=install, home=home)

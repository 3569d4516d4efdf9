"""Programs that this one starts, and how they come to die with it.

A child sees none of our environment, which holds secrets: only where Python finds its modules, and what is given.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO, Final

_PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>


def environment(**given: str) -> dict[str, str]:
    """The whole environment of a child that runs our Python modules."""
    paths = os.pathsep.join(path for path in sys.path if path)
    return {"PYTHONPATH": paths, "PYTHONUNBUFFERED": "1", "LC_ALL": "C.UTF-8", "PATH": os.defpath, **given}


def persons_environment() -> dict[str, str]:
    """That of a child that runs a tool of the person's own, as npm is: its index, its proxy and its cache stand there.

    Without our settings, in which the secrets are.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PURSER_")}
    ours = environment()
    return {**ours, **inherited, "PYTHONPATH": ours["PYTHONPATH"]}


def module(name: str, *arguments: str) -> list[str]:
    """The command line that runs one of our modules. `-P`: a folder of the same name where we stand does not count."""
    return [sys.executable, "-P", "-m", name, *arguments]


def new_log(path: Path) -> BinaryIO:
    """An empty log that only the folder's owner may read, in place of whatever was there: it writes through no link."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    owner = path.parent.stat()
    if os.geteuid() == 0:  # root must not lock the folder's owner out
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return os.fdopen(descriptor, "wb")


def given_secretly(secret: str) -> int:
    """A descriptor from which a child reads this secret once; it stands on no command line and in no file.

    At most what fits into a pipe at once (4096 bytes, POSIX's PIPE_BUF on Linux). The caller closes it.
    """
    to_read, to_write = os.pipe()
    with os.fdopen(to_write, "wb") as pipe:
        pipe.write(secret.encode())
    return to_read


def die_with_parent(parent_pid: int) -> None:
    """Ask the kernel to kill this process when the thread that started it ends; at once if it has ended already.

    Source: PR_SET_PDEATHSIG(2const). SIGKILL, because a parent that is gone can neither wait nor insist, and whatever
    this process does may be cut off at any point anyway. On systems without it nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now. Raises `OSError` for an address that is not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
        return True


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def end(process: subprocess.Popen[bytes], *, within_s: float) -> None:
    """Ask a child to end, and end it when it does not."""
    process.terminate()
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

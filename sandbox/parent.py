"""Dying with the parent: a sandbox that was started by a test or a service must not outlive it, however it ends."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that the kernel sends when the parent dies; Linux only."""


def die_with_parent(parent_pid: int) -> None:
    """Ask the kernel for SIGTERM at the parent's death; ends at once if it has died already.

    Raises `OSError` where the system has no such thing.
    """
    if not sys.platform.startswith("linux"):
        raise OSError("--die-with-parent needs Linux")
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent_pid:
        sys.exit(0)

"""The few lines between fork and exec: become the server's uid, ask to die with the service, turn into PostgreSQL.

Run as a script, `python -I -S launch.py UID:GID:CAPABILITY PARENT CWD COMMAND…` (`-` for UID:GID:CAPABILITY changes no
uid), because the service has threads and code between fork and exec of such a process may deadlock. Standard library
only. See capabilities(7) and PR_SET_PDEATHSIG(2const).
"""

import ctypes
import errno
import os
import signal
import sys

CAP_DAC_READ_SEARCH = 2  # <linux/capability.h>: read any file, traverse any folder, write nothing more
_PR_SET_PDEATHSIG, _PR_SET_SECUREBITS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 1, 28, 47, 2  # <linux/prctl.h>
_NO_SETUID_FIXUP = 1 << 2  # <linux/securebits.h>
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        error = ctypes.get_errno()
        sys.exit(f"cannot {what}: {os.strerror(error)}")


def _hold_only(capability: int) -> None:
    """Permitted, effective and inheritable become this one capability; header and data as in capset(2)."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    bit = 1 << capability
    data = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)
    _check(_libc.capset(header, data), f"keep capability {capability}")


def _become(uid: int, gid: int, capability: int) -> None:
    """Take the uid for good; keep `capability` (0: none) over the exec, as an ambient one."""
    if capability:
        # Capabilities survive the change of uid, and access(2) counts them: PostgreSQL checks its own program so.
        _check(_libc.prctl(_PR_SET_SECUREBITS, _NO_SETUID_FIXUP, 0, 0, 0), "keep capabilities")
    try:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        sys.exit(f"cannot become uid {uid}: {error.strerror}")
    if capability:
        _hold_only(capability)
        _check(_libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0), "keep an ambient capability")


def main(identity: str, parent: str, cwd: str, *command: str) -> None:
    """Do what the module says; never returns."""
    if identity != "-":
        uid, gid, capability = map(int, identity.split(":"))
        _become(uid, gid, capability)
    # After the uid: the kernel forgets this wish when credentials change. SIGINT is PostgreSQL's fast shutdown.
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0), "ask for the death signal")
    if os.getppid() != int(parent):
        sys.exit("the process that started this one is gone")
    os.umask(0o077)
    try:
        os.chdir(cwd)
        if not os.access(command[0], os.R_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        os.execv(command[0], command)  # noqa: S606  # a program by its full path is what a launcher runs
    except OSError as error:
        sys.exit(f"uid {os.geteuid()} cannot run {command[0]} in {cwd}: {error.strerror}")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What kind of failure of the database it is: of the link, passing, or of what was asked."""

from __future__ import annotations

from typing import Final

import asyncpg

_BROKEN: Final = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)
_BROKEN_STATES: Final = ("08", "25", "57P", "53300")
"""SQLSTATEs (PostgreSQL, appendix A) of a server that is going away, or is not the one to talk to: reconnect."""

_PASSING_STATES: Final = ("40", "53", "55")
"""SQLSTATEs that the same call may not meet again: deadlocks, resources, locks."""


def of_the_link(error: Exception) -> bool:
    """Whether the server may have committed, or is not to be had. What asyncpg cannot encode was never sent."""
    if isinstance(error, _BROKEN):
        return not isinstance(error, ValueError)
    return _has_state(error, _BROKEN_STATES)


def passing(error: Exception) -> bool:
    """Whether the same call may succeed when it is made again: a deadlock, a lock, a resource."""
    return _has_state(error, _PASSING_STATES)


def _has_state(error: Exception, states: tuple[str, ...]) -> bool:
    return isinstance(error, asyncpg.PostgresError) and str(error.sqlstate).startswith(states)

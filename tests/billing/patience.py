"""Time-outs of the product that no test is about, so long that a machine which stalls for seconds does not reach them.

An event loop that stood still finds a time-out that has passed before it finds the answer that has come meanwhile.
"""

from collections.abc import Callable

from api.postgres import connection
from billing import bearers, database
from outbound import door
from rails import stripe_door

LONG_S = 60
LOCK_TIMEOUT_MS = 9_000
"""Shorter than the server's time-out for a whole statement."""


def be_patient(put: Callable[[object, str, object], None]) -> None:
    """Give long to whoever connects, or waits in line at the database; `put` sets an attribute, as `setattr` does."""
    put(connection, "CONNECT_TIMEOUT_S", LONG_S)
    put(database, "CONNECT_TIMEOUT_S", LONG_S)
    put(database, "POOL_TIMEOUT_S", LONG_S)
    put(database, "_WAITS", {**database._WAITS, "lock_timeout": str(LOCK_TIMEOUT_MS)})
    put(bearers, "ANSWER_TIMEOUT_S", LONG_S)
    put(door, "CONNECT_TIMEOUT_S", LONG_S)
    put(stripe_door, "CONNECT_TIMEOUT_S", LONG_S)

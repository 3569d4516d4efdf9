"""Which ports the servers of a test process listen on.

Between the choice of a port and the start of the server that gets it lie seconds, in which nobody else may take it. The
kernel would give a port that is not listened on to the next who asks for any, such as another worker of the same run;
and two of our servers then share it, and with it the requests, because theirs says so by SO_REUSEPORT. So each worker
goes round in a range of its own, below those that the kernel gives away.
"""

import os
import secrets
from collections.abc import Iterator
from itertools import count, islice

FIRST, EACH, WORKERS_MAX = 20_000, 1_500, 8

_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS_MAX
# Two runs on one machine begin at different places.
_turns = count(secrets.randbelow(EACH))


def own_ports() -> Iterator[int]:
    """Each port of this process once, beginning behind the one that was taken last. Some may be in use."""
    return (FIRST + _worker * EACH + turn % EACH for turn in islice(_turns, EACH))

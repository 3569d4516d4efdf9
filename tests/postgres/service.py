"""A service in miniature: starts the server of a directory, prints where it is as one JSON line, waits to be ended.

`service.py DIRECTORY [--without-capability]`; the option gives up CAP_DAC_READ_SEARCH first, as containers do.
"""

import ctypes
import json
import os
import sys
from pathlib import Path

from api.postgres.server import start, stop
from api.postgres.unavailable import PostgresUnavailable

_PR_CAPBSET_DROP, _CAP_DAC_READ_SEARCH = 24, 2
_GIVE_UP = "--without-capability"


def main() -> None:
    if _GIVE_UP in sys.argv:
        if ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, _CAP_DAC_READ_SEARCH, 0, 0, 0) != 0:
            sys.exit("cannot give up the capability")
        os.execv(  # noqa: S606  # itself again
            sys.executable, [sys.executable, *(one for one in sys.argv if one != _GIVE_UP)]
        )
    try:
        server = start(Path(sys.argv[1]))
    except PostgresUnavailable as refused:
        sys.stdout.write(json.dumps({"refused": str(refused)}) + "\n")
        return
    facts = {"port": server.port, "data_dir": str(server.data_dir), "password": server.password, "url": server.url()}
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    stop(server)


if __name__ == "__main__":
    main()

"""The service as it runs in production, with the waits of a soak.

`python -m tests.soak.process serve|work PARENT [PORT]`; it ends with the process PARENT, however that one ends.
Settings come from the environment.
"""

import sys
from typing import Any

from granian.constants import HTTPModes, Interfaces
from granian.server.mp import MPServer

from sandbox.parent import die_with_parent
from tests.soak.waits import shorten


def create_app() -> Any:
    """The application; Granian calls this in a server process."""
    shorten()
    from api.running.serving import create_app as application

    return application()


def serve(port: int) -> None:
    MPServer(
        "tests.soak.process:create_app",
        factory=True,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        address="127.0.0.1",
        port=port,
        workers=1,
        websockets=False,
        log_enabled=False,
    ).serve()


def work() -> None:
    """`purser work`."""
    shorten()
    from api.cli import main

    sys.argv = ["purser", "work"]
    main()


if __name__ == "__main__":
    die_with_parent(int(sys.argv[2]))
    if sys.argv[1] == "serve":
        serve(int(sys.argv[3]))
    else:
        work()

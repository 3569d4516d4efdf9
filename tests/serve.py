"""The service as it runs in production, in processes that end with the test run: `python -m tests.serve PORT PARENT`.

Settings come from the environment; see `tests/service.py`.
"""

import sys

from granian.constants import HTTPModes, Interfaces
from granian.server.mp import MPServer

from sandbox.parent import die_with_parent

if __name__ == "__main__":
    die_with_parent(int(sys.argv[2]))
    MPServer(
        "api.running.serving:create_app",
        factory=True,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        address="127.0.0.1",
        port=int(sys.argv[1]),
        workers=1,
        websockets=False,
        log_enabled=False,
    ).serve()

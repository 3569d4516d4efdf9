"""The programs that tests start, as forks of a process that has imported them: most of a start is imports.

They end with the process that runs the tests, however that ends.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.preloaded"])


def started(
    run: Callable[[], None], *, said: Path, environment: Mapping[str, str], folder: Path, errors: Path | None = None
) -> ForkServerProcess:
    """A process that does `run` in `folder`; what it says is in the file `said`, errors too or in one of their own."""
    process = FORKS.Process(target=_begin, args=(run, (said, errors or said), dict(environment), folder))
    process.start()
    return process


def _begin(run: Callable[[], None], files: tuple[Path, Path], environment: dict[str, str], folder: Path) -> None:
    for number, file in enumerate(files, 1):
        os.dup2(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    threading.Thread(target=_end_with_the_run, daemon=True).start()
    run()


def _end_with_the_run() -> None:
    # No signal of the kernel at the parent's death: their parent is the one that they are forks of, and it lives on
    # for as long as one of them does.
    run = multiprocessing.parent_process()
    assert run is not None
    run.join()
    os.kill(os.getpid(), signal.SIGTERM)


def sandbox(arguments: list[str]) -> None:
    """`python -m sandbox`."""
    from sandbox.__main__ import main

    sys.argv = ["sandbox", *arguments]
    main()


def service(port: int) -> None:
    """The service as it runs in production, on Granian. Settings come from the environment."""
    from granian.constants import HTTPModes, Interfaces
    from granian.server.mp import MPServer

    multiprocessing.set_start_method("fork", force=True)  # or Granian would spawn, and everything be imported again
    MPServer(
        "api.running.serving:create_app",
        factory=True,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        address="127.0.0.1",
        port=port,
        workers=1,
        websockets=False,
        log_enabled=False,
    ).serve()

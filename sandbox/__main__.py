"""`python -m sandbox --host 127.0.0.1 --port N …`: one process, one event loop, until SIGTERM or SIGINT."""

import argparse
import asyncio
import os
import signal
from pathlib import Path

from granian.constants import Interfaces
from granian.server.embed import Server

from sandbox.app import create_app
from sandbox.config import SandboxConfig
from sandbox.parent import die_with_parent

POLL_S = 0.02
START_TIMEOUT_S = 15.0


def arguments() -> argparse.Namespace:
    """The command line; no setting comes from anywhere else."""
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="A pretend Stripe. No real money.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, metavar="FILE", help="remember everything in this SQLite file")
    parser.add_argument("--webhook-url", metavar="URL", help="deliver every event here")
    parser.add_argument("--webhook-secret", metavar="whsec_…", help="sign those letters with this")
    parser.add_argument(
        "--webhook-secret-file", type=Path, metavar="FILE", help="the same, read from a file, which `ps` does not show"
    )
    parser.add_argument("--public-url", metavar="URL", help="where browsers reach the hosted page")
    parser.add_argument("--settle-delay", type=float, default=SandboxConfig.settle_delay_s, metavar="SECONDS")
    parser.add_argument("--balance-delay", type=float, default=SandboxConfig.balance_delay_s, metavar="SECONDS")
    parser.add_argument("--retry-base", type=float, default=SandboxConfig.retry_base_s, metavar="SECONDS")
    parser.add_argument("--die-with-parent", action="store_true", help="end when the starting process ends (Linux)")
    found = parser.parse_args()
    if found.webhook_secret_file:
        found.webhook_secret = found.webhook_secret_file.read_text(encoding="utf-8").strip()
    if found.webhook_url and not found.webhook_secret:
        parser.error("--webhook-url needs --webhook-secret or --webhook-secret-file")
    return found


def config_of(found: argparse.Namespace) -> SandboxConfig:
    """The settings those arguments mean."""
    return SandboxConfig(
        public_url=(found.public_url or f"http://{found.host}:{found.port}").rstrip("/"),
        state_file=found.state,
        webhook_url=found.webhook_url,
        webhook_secret=found.webhook_secret,
        settle_delay_s=found.settle_delay,
        balance_delay_s=found.balance_delay,
        retry_base_s=found.retry_base,
    )


async def serve(found: argparse.Namespace) -> None:
    """Serve until told to stop; prints one line once the port answers."""
    app = create_app(config_of(found))
    server = Server(
        app,
        address=found.host,
        port=found.port,
        interface=Interfaces.ASGI,
        log_enabled=False,
    )
    serving = asyncio.create_task(server.serve())
    loop = asyncio.get_running_loop()

    def stop() -> None:
        app.state.world.stopping.set()
        server.stop()  # type: ignore[no-untyped-call]

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    await _until_listening(found.host, found.port, serving)
    print(f"sandbox ready on http://{found.host}:{found.port} (a pretend Stripe; no real money)", flush=True)
    await serving


async def _until_listening(host: str, port: int, serving: asyncio.Task[None]) -> None:
    async with asyncio.timeout(START_TIMEOUT_S):
        while not serving.done():
            try:
                _, writer = await asyncio.open_connection(host, port)
            except OSError:
                await asyncio.sleep(POLL_S)
            else:
                writer.close()
                return
    await serving


def main() -> None:
    """Start; with `--die-with-parent`, tie this process to the one that started it first."""
    parent_pid = os.getppid()
    found = arguments()
    if found.die_with_parent:
        die_with_parent(parent_pid)
    asyncio.run(serve(found))


if __name__ == "__main__":
    main()

"""`python -m sandbox.chain …`: one anvil with all that payments need on it, until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any, Final

from sandbox.chain import keys, token
from sandbox.chain.keys import Keys
from sandbox.chain.node import CHAIN_ID, Node, started, stop
from sandbox.chain.packages import NotHere, anvil_binary
from sandbox.parent import die_with_parent

FILE: Final = "chain.json"
"""There while the chain runs; left behind by one that was killed."""
STATE: Final = "state.json"
NOT_HERE: Final = 3
WALLET_DOLLARS: Final = 1_000
GAS_WEI: Final = 10**18
BLOCK_S: Final = 12
"""A block comes with each transaction, and at least so often: time has to pass for a payment to become final."""
SLOTS_IN_AN_EPOCH: Final = 1
"""`safe` is one block behind the head, `finalized` two."""
STATES_MAX: Final = 1_000
"""Blocks whose state is kept; the rest is forgotten, and nothing is written outside of the folder."""
BASE_FEE_WEI: Final = 5_000_000
"""What gas costs on Base, about."""
SAVED_EVERY_S: Final = 30
"""And when it ends, unless anvil itself is killed."""
POLL_S: Final = 0.2

_OPTIONS: Final = (
    *("--block-time", str(BLOCK_S), "--mixed-mining", "--slots-in-an-epoch", str(SLOTS_IN_AN_EPOCH)),
    *("--prune-history", str(STATES_MAX), "--base-fee", str(BASE_FEE_WEI), "--state-interval", str(SAVED_EVERY_S)),
)


def arguments() -> argparse.Namespace:
    """The command line; no setting comes from anywhere else."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.chain", description="A chain to try. No real money.")
    parser.add_argument("--folder", type=Path, help="where it keeps blocks and keys")
    parser.add_argument("--port", type=int, help="where the node listens (default: a free port)")
    parser.add_argument("--fetch", action="store_true", help="get what it needs from npm, and end")
    parser.add_argument("--new-wallet", action="store_true", help="print the key of a new wallet with dollars, and end")
    parser.add_argument("--die-with-parent", action="store_true", help="end when the starting process ends (Linux)")
    found = parser.parse_args()
    if found.folder is None and not found.fetch:
        parser.error("--folder is needed")
    return found


def serve(folder: Path, port: int | None) -> None:
    """Run the chain until a signal. Raises `NotHere`."""
    binary = anvil_binary()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    who = keys.recall(folder)
    kept = folder / STATE
    try:
        process, url = started(binary, [*_OPTIONS, "--state", str(kept)], port=port, home=folder)
    except NotHere as why:
        raise NotHere(f"{why}; perhaps {kept} is damaged" if kept.exists() else str(why)) from None
    try:
        node = Node(url)
        furnish(node, who)
        node.close()
        keys.write(folder / FILE, description(url, who))
        print(f"chain ready on {url} (pretend; no real money)", flush=True)
        _wait(process)
    finally:
        (folder / FILE).unlink(missing_ok=True)
        stop(process)


def furnish(node: Node, who: Keys) -> None:
    """Put onto the chain what is not there yet: the token, ether for gas, dollars in the wallet."""
    owner = node.rpc("eth_accounts")[0]
    if not token.is_placed(node.rpc):
        token.place(node.rpc, owner=owner)
    node.rpc("anvil_setBalance", who.gas.address, hex(GAS_WEI))
    missing = WALLET_DOLLARS * token.DOLLAR - token.balance(node.rpc, who.wallet.address)
    if missing > 0:
        token.mint(node.rpc, owner=owner, to=who.wallet.address, atomic=missing)
    # Of the blocks before a restart no state is known; now it is of the block that is final.
    node.rpc("anvil_mine", hex(2 * SLOTS_IN_AN_EPOCH + 1))


def description(url: str, who: Keys) -> dict[str, Any]:
    """What a service and a payer have to know of the chain."""
    return {
        "rpc_url": url,
        "network": f"eip155:{CHAIN_ID}",
        "token": token.ADDRESS,
        "treasury": who.treasury.address,
        "treasury_key": who.treasury.private,
        "gas_key": who.gas.private,
        "wallet": who.wallet.address,
        "wallet_key": who.wallet.private,
    }


def new_wallet(folder: Path) -> str:
    """The key of a wallet that nobody had, with dollars on the chain that runs in `folder`. Raises `NotHere`."""
    try:
        node = Node(json.loads((folder / FILE).read_bytes())["rpc_url"])
    except FileNotFoundError:
        raise NotHere(f"no chain runs in {folder}") from None
    made = keys.fresh()
    token.mint(node.rpc, owner=node.rpc("eth_accounts")[0], to=made.address, atomic=WALLET_DOLLARS * token.DOLLAR)
    node.close()
    return made.private


def _wait(process: subprocess.Popen[bytes]) -> None:
    """Until somebody asks this process to end. Raises `NotHere` when the chain ended first."""
    while process.poll() is None:
        time.sleep(POLL_S)
    raise NotHere(f"anvil ended with status {process.returncode}")


def _end(number: int, _: FrameType | None) -> None:
    """Leave by an exception, so that what was started is stopped."""
    del number
    sys.exit(0)


def main() -> None:
    """Do what the command line says; with `--die-with-parent`, tied to the process that started this one."""
    parent_pid = os.getppid()
    found = arguments()
    if found.die_with_parent and sys.platform.startswith("linux"):
        die_with_parent(parent_pid)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    try:
        if found.fetch:
            anvil_binary()
        elif found.new_wallet:
            print(new_wallet(found.folder))
        else:
            serve(found.folder, found.port)
    except NotHere as why:
        print(why, file=sys.stderr)
        sys.exit(NOT_HERE)


if __name__ == "__main__":
    main()

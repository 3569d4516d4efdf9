"""What `purser serve` says once it answers: where everything is, and how to stop it."""

from __future__ import annotations

from rich.markup import escape

from api.command_line.console import console
from api.running import local_chain
from api.running.embedding import reachable_url
from api.settings import Settings


def banner(given: Settings, in_use: Settings) -> None:
    """Print it. `given` says what was embedded; no secret and no password is shown, but a key of nobody's money."""
    lines = [("Purser serves at", in_use.url if given.public_url else reachable_url(in_use.host, in_use.port))]
    if given.database_url is None:
        lines.append(("its database is in", str((given.data_dir / "postgres").resolve())))
    if given.stripe_secret_key is None:
        lines.append(("a pretend Stripe at", f"{in_use.stripe_api_base} (no real money)"))
    elif in_use.livemode:
        lines.append(("real money by", "Stripe, live mode"))
    else:
        lines.append(("payments by", "Stripe, test mode (no real money)"))
    chain = local_chain.found(in_use.data_dir) if given.local_chain else None
    if chain is not None:
        lines += [
            ("a pretend chain at", f"{chain.rpc_url} ({chain.network}, no real money)"),
            ("its USDC is at", chain.token),
            ("a wallet to try it", f"{chain.wallet}, 1,000 pretend USDC"),
            ("the wallet's key", f"{chain.wallet_key} (known to everybody who reads this: send it nothing)"),
        ]
    if not in_use.worker:
        lines.append(("no worker inside:", "run `purser work`"))
    lines.append(("to stop it", "press Ctrl-C"))
    width = max(len(name) for name, _ in lines)
    out = console()
    for name, value in lines:
        out.print(f"  {name:>{width}}  [bold]{escape(value)}[/]", soft_wrap=True)

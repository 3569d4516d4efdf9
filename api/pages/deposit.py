"""The part of the page that asks a wallet for a deposit: QR code, details to copy, what must not go wrong. Pure.

The code carries an EIP-681 URI: https://eips.ethereum.org/EIPS/eip-681.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import segno

from api.pages.markup import Markup, html
from api.pages.moments import moment
from api.pages.screens import Deposit

QUIET_ZONE: Final = 4
"""Light modules around the code, as ISO/IEC 18004 asks for."""
CODES_KEPT_MAX: Final = 256
"""Of about 4 kB. Drawing one takes about 15 ms, in which nobody else is served, and a page is often loaded again."""


def token_amount(asked: Deposit) -> str:
    """The amount as a person types it into a wallet: `5000000` atomic USDC are `5.00`; no digit is lost."""
    whole, rest = divmod(asked.amount_atomic, 10**asked.decimals)
    return f"{whole}.{str(rest).rjust(asked.decimals, '0').rstrip('0').ljust(2, '0')}"


def instructions(asked: Deposit) -> Markup:
    """Code, details and warning."""
    amount = token_amount(asked)
    return html(
        """<div class="code" role="img" aria-label="QR code: {amount} {token} on {network} to {address}">{code}</div>
<p class="open"><a id="wallet" href="{uri}">Open in a wallet on this device</a></p>
<p class="warning" role="note"><strong>Send exactly {amount} {token}, on {network}.</strong> Another amount, token or
network is not recognized, and the money may be lost. If your wallet or exchange takes its fee out of the amount, add
the fee on top.</p>
<dl class="facts tall">
<dt>Amount</dt><dd><span><span id="amount" class="figure">{amount}</span> {token}</span>{copy_amount}</dd>
<dt>Network</dt><dd id="network">{network}</dd>
<dt>Address</dt><dd><code id="address">{address}</code>{copy_address}</dd>
<dt>Token contract</dt><dd><code id="contract">{contract}</code></dd>
<dt>Pay until</dt><dd>{until}</dd>
</dl>""",
        amount=amount,
        token=asked.token,
        network=asked.network,
        address=asked.address,
        contract=asked.token_contract,
        uri=asked.uri,
        code=qr_code(asked.uri),
        copy_amount=_copy_button("amount", "Copy the amount"),
        copy_address=_copy_button("address", "Copy the address"),
        until=moment(asked.expires_at),
    )


@lru_cache(maxsize=CODES_KEPT_MAX)
def qr_code(uri: str) -> Markup:
    """`uri` as an inline SVG, dark on light whatever the page's colours, because readers want it so."""
    code = segno.make(uri, error="m", micro=False)
    return Markup(
        code.svg_inline(border=QUIET_ZONE, dark="#000", light="#fff", omitsize=True, svgclass=None, lineclass=None)
    )


def _copy_button(target: str, label: str) -> Markup:
    """Hidden until the script is there to do it."""
    return html(
        '<button type="button" data-copy="{target}" aria-label="{label}" hidden>Copy</button>',
        target=target,
        label=label,
    )

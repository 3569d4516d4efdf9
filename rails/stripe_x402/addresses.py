"""Checking an address before a wallet is told to pay to it: money sent to a wrong one is gone.

`eth_utils` is what `web3` re-exports for this, a quarter of its import time; it is imported at the first deposit.
Source: https://eips.ethereum.org/EIPS/eip-55.
"""

from __future__ import annotations

import re
from typing import Final

_HEX_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)


def checksummed(text: object) -> str | None:
    """`text` in EIP-55 letters; None unless it is `0x` + 40 hex digits whose letters, if mixed, are its checksum."""
    if not isinstance(text, str) or not _HEX_ADDRESS.fullmatch(text):
        return None
    from eth_utils.address import to_checksum_address  # noqa: PLC0415 -- see the module's docstring

    address = str(to_checksum_address(text))
    one_case = text[2:] in (text[2:].lower(), text[2:].upper())
    return address if one_case or address == text else None

"""Whose address a request comes from, and as what it is counted. Pure.

`X-Forwarded-For` can be written by anybody; what a proxy of ours has added to its end cannot.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

HOPS_MAX: Final = 16
"""How many proxies in a row are looked behind."""
IPV6_PREFIX: Final = 64
"""One customer gets at least this network, and may take any address in it. Source: RFC 6177 and RFC 7421."""


def client(peer: str, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """The address behind the `trusted` proxies, from the `X-Forwarded-For` headers in their order.

    It is the rightmost one that is not a trusted proxy's own. `peer`, who holds the connection, when that is no trusted
    proxy itself, or when no such address can be made out.
    """
    if not _is_in(_parsed(peer), trusted):
        return peer
    for hop in reversed(",".join(forwarded).rsplit(",", HOPS_MAX)[-HOPS_MAX:]):
        address = _parsed(hop.strip())
        if address is None:
            return peer
        if not _is_in(address, trusted):
            return str(address)
    return peer


def counted_as(address: str) -> str:
    """What limits count: an IPv4 address, the network around an IPv6 address, or else the text itself."""
    parsed = _parsed(address)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((int(parsed), IPV6_PREFIX), strict=False))
    return address if parsed is None else str(parsed)


def _is_in(address: Address | None, networks: Sequence[Network]) -> bool:
    return address is not None and any(address in network for network in networks)


def _parsed(text: str) -> Address | None:
    """An IPv4 address that came over an IPv6 socket is an IPv4 address, or all of them would be one network."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address

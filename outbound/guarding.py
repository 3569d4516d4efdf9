"""Which addresses may be called. Pure.

A URL that somebody else has written must not lead into our own network: neither by what it says, nor by what its name
resolves to. So an address is judged after the name is resolved, and whoever connects uses the address that was judged.

| address | may be called |
| --- | --- |
| public unicast | yes |
| private, loopback, shared, benchmarking, unique local | when private addresses are allowed |
| unspecified, link-local, multicast, reserved, documentation, tunnels, a cloud's metadata | never |

An IPv6 address that wraps one of IPv4 (mapped, NAT64) is judged as that one.
Sources: the IANA registries of special-purpose addresses for IPv4 and IPv6 (RFC 6890), RFC 4291, RFC 6052; for the
metadata addresses the manuals of AWS, Azure, Google Cloud and Alibaba Cloud.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

import httpx

URL_LENGTH_MAX: Final = 2048
PORTS: Final = {"http": 80, "https": 443}

_PRIVATE: Final[tuple[IPv4Network | IPv6Network, ...]] = (
    IPv4Network("10.0.0.0/8"),
    IPv4Network("100.64.0.0/10"),
    IPv4Network("127.0.0.0/8"),
    IPv4Network("172.16.0.0/12"),
    IPv4Network("192.168.0.0/16"),
    IPv4Network("198.18.0.0/15"),
    IPv6Network("::1/128"),
    IPv6Network("fc00::/7"),
)
_NEVER: Final[tuple[IPv4Network | IPv6Network, ...]] = (
    IPv4Network("0.0.0.0/8"),
    IPv4Network("169.254.0.0/16"),
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.0.2.0/24"),
    IPv4Network("192.88.99.0/24"),
    IPv4Network("198.51.100.0/24"),
    IPv4Network("203.0.113.0/24"),
    IPv4Network("224.0.0.0/3"),
    IPv6Network("2001::/23"),
    IPv6Network("2001:db8::/32"),
    IPv6Network("2002::/16"),
    IPv6Network("3fff::/20"),
    # What a cloud tells its machines, at addresses that look private or public.
    IPv4Network("100.100.100.200/32"),
    IPv4Network("168.63.129.16/32"),
    IPv6Network("fd00:ec2::254/128"),
    IPv6Network("fd20:ce::254/128"),
)
_UNICAST: Final = IPv6Network("2000::/3")
"""All that IPv6 gives out for the public."""
_NAT64: Final = IPv6Network("64:ff9b::/96")

_WRITABLE: Final = re.compile(r"[!-\[\]-~]+", re.ASCII)
"""Printable ASCII but the backslash, which some readers of URLs take for a slash."""
_NAME: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*", re.ASCII)
_NUMBER: Final = re.compile(r"([0-9]+|0x[0-9a-f]*)", re.ASCII)


class Forbidden(Exception):
    """This may not be called. Its text names neither the URL nor an address, and may be shown to who wrote the URL."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads. `host` is a name, or an address without brackets; `path` has the query in it."""

    scheme: str
    host: str
    port: int
    path: bytes


def target(url: str, *, allow_private: bool) -> Target:
    """Where `url` leads, as far as can be said before its name is resolved. Raises `Forbidden`."""
    if len(url) > URL_LENGTH_MAX or not _WRITABLE.fullmatch(url):
        raise Forbidden(f"a URL has at most {URL_LENGTH_MAX} characters, all of them printable ASCII")
    try:
        read = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        raise Forbidden("this is no URL, or its host is none") from None
    schemes = ("https", "http") if allow_private else ("https",)
    if read.scheme not in schemes:
        raise Forbidden(f"the scheme must be {' or '.join(schemes)}")
    if read.userinfo or read.fragment:
        raise Forbidden("a URL has neither a user, a password nor a fragment here")
    host = read.raw_host.decode()
    port = PORTS[read.scheme] if read.port is None else read.port
    if not 0 < port < 65536:
        raise Forbidden("there is no such port")
    address = literal(host)
    if address is not None:
        check([host], allow_private=allow_private)
    elif len(host) > 253 or not _NAME.fullmatch(host) or _NUMBER.fullmatch(host.rpartition(".")[2]):
        # A name that ends in a number is an address to whoever resolves it: 2130706433, 0x7f.1, 127.1.
        raise Forbidden("the host is neither a name nor an address in its usual form")
    return Target(read.scheme, host, port, read.raw_path)


def literal(host: str) -> IPv4Address | IPv6Address | None:
    """The address that `host` is in its usual form; none for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def check(addresses: Sequence[str], *, allow_private: bool) -> None:
    """Return when every one of `addresses` may be called, and there is one. Raises `Forbidden`."""
    if not addresses:
        raise Forbidden("the name has no address")
    for address in addresses:
        found = literal(address)
        if found is None or not _allowed(_unwrapped(found), allow_private=allow_private):
            raise Forbidden("the address, or one of the name's addresses, may not be called")


def _unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address


def _allowed(address: IPv4Address | IPv6Address, *, allow_private: bool) -> bool:
    if any(address in network for network in _NEVER):
        return False
    if any(address in network for network in _PRIVATE):
        return allow_private
    return isinstance(address, IPv4Address) or (address in _UNICAST and address.scope_id is None)

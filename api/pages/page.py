"""Screens and notices as whole HTML pages. Pure, apart from reading style and script from the package once."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib import resources
from typing import Final

from api.pages.deposit import instructions
from api.pages.markup import NOTHING, Markup, html, joined
from api.pages.moments import moment
from api.pages.screens import WATCHED, Kind, Paid, Screen
from api.pages.texts import MARKS, Words, words
from ledger.money import usd

SERVICE: Final = "Purser"
RETRY_S: Final = 5
"""Seconds after which a page that could not be made is asked for again."""
REFRESH_S: Final = 15
"""Seconds between two looks of a browser without scripts."""


def _file(name: str) -> Markup:
    return Markup(resources.files("api.pages").joinpath(name).read_text(encoding="utf-8"))


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


_STYLE: Final = _file("style.css")
_SCRIPT: Final = _file("state.js")

HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Robots-Tag": "noindex, nofollow",
}
"""Of every page. The hashes allow our own style and script and nothing else."""
FORM_HEADERS: Final[Mapping[str, str]] = {
    **HEADERS,
    "Content-Security-Policy": HEADERS["Content-Security-Policy"].replace("form-action 'none'", "form-action 'self'"),
}
"""Of pages with forms, which go to this service alone."""


def of_screen(shown: Screen) -> str:
    """The page of an attempt."""
    said = words(shown)
    parts = [what(shown), _reason(shown)]
    if shown.deposit is not None and shown.kind is Kind.DEPOSIT:
        parts.append(instructions(shown.deposit))
    if shown.paid is not None:
        parts += [proof(shown.paid), _receipt_link(shown.paid)]
    watched = shown.kind in WATCHED
    head = html('<noscript><meta http-equiv="refresh" content="{s}"></noscript>', s=str(REFRESH_S)) if watched else None
    if shown.kind is Kind.BUSY:
        head = _retry()
    return _page(
        said,
        head=head or NOTHING,
        body=joined(*parts),
        attributes=html(
            ' data-kind="{kind}" data-version="{version}" data-watch="{watch}"',
            kind=shown.kind,
            version=shown.version,
            watch="yes" if watched else "no",
        ),
        news=html('<p class="hint" id="news" role="status">This page updates by itself.</p>') if watched else NOTHING,
        sandbox=shown.sandbox,
    )


def of_notice(said: Words, *, sandbox: bool, retry: bool = False) -> str:
    """A page that is about no attempt: not found, unavailable."""
    return _page(
        said, head=_retry() if retry else NOTHING, body=NOTHING, attributes=NOTHING, news=NOTHING, sandbox=sandbox
    )


def of_owner(said: Words, body: Markup, *, sandbox: bool) -> str:
    """A page for who owns an organization, or may, or has paid for it."""
    return _page(said, head=NOTHING, body=body, attributes=NOTHING, news=NOTHING, sandbox=sandbox)


def _retry() -> Markup:
    return html('<meta http-equiv="refresh" content="{seconds}">', seconds=str(RETRY_S))


def what(shown: Screen) -> Markup:
    """What is paid for: the first thing a payer wants to be sure of. Nothing where that is not told."""
    if shown.credits is None or shown.price_cents is None:
        return NOTHING
    return html(
        '<p class="what"><span id="credits">{credits} {unit}</span><span id="price">{price}</span></p>',
        credits=f"{shown.credits:,}",
        unit="credit" if shown.credits == 1 else "credits",
        price=dollars(shown.price_cents),
    )


def _reason(shown: Screen) -> Markup:
    return html('<p class="reason" id="reason">{reason}</p>', reason=shown.reason) if shown.reason else NOTHING


def proof(paid: Paid) -> Markup:
    """What was paid, with its number, how and when."""
    rows = [html('<dt>Receipt</dt><dd><code id="receipt">{number}</code></dd>', number=paid.receipt_id)]
    if paid.discount_cents:
        rows.append(html("<dt>Discount</dt><dd>−{amount}</dd>", amount=dollars(paid.discount_cents)))
    if paid.tax_cents:
        rows.append(html("<dt>Tax</dt><dd>{amount}</dd>", amount=dollars(paid.tax_cents)))
    rows.append(html('<dt>Paid</dt><dd id="total">{amount}</dd>', amount=dollars(paid.total_cents)))
    rows.append(html("<dt>With</dt><dd>{means}</dd>", means=paid.means))
    rows.append(html("<dt>On</dt><dd>{at}</dd>", at=moment(paid.settled_at)))
    return html('<dl class="facts">{rows}</dl>', rows=joined(*rows))


def _receipt_link(paid: Paid) -> Markup:
    return html('<p class="open"><a id="print" href="{href}">Receipt to print</a></p>', href=paid.receipt_href)


def dollars(cents: int) -> str:
    """Cents as people read them."""
    return f"${usd(cents).decimal()}"


def _page(said: Words, *, head: Markup, body: Markup, attributes: Markup, news: Markup, sandbox: bool) -> str:
    banner = html('<p class="banner" role="note">Sandbox: no real money</p>') if sandbox else NOTHING
    advice = html('<p class="hint">{advice}</p>', advice=said.advice) if said.advice else NOTHING
    link = html('<p><a class="button" id="go" href="?">{link}</a></p>', link=said.link) if said.link else NOTHING
    return html(
        """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<title>{heading} · {service}</title>
<link rel="icon" href="data:,">
{head}
<style>{style}</style>
</head>
<body>
{banner}
<main{attributes}>
<header class="{tone}">
<p class="mark" aria-hidden="true">{mark}</p>
<h1 id="state">{heading}</h1>
<p class="lead">{lead}</p>
</header>
{body}
{advice}
{link}
{news}
</main>
<script>{script}</script>
</body>
</html>
""",
        heading=said.heading,
        service=SERVICE,
        head=head,
        style=_STYLE,
        banner=banner,
        attributes=attributes,
        tone=said.tone,
        mark=MARKS[said.tone],
        lead=said.lead,
        body=body,
        advice=advice,
        link=link,
        news=news,
        script=_SCRIPT,
    )

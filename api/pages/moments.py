"""Moments for people. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from api.pages.markup import Markup, html


def moment(at: datetime) -> Markup:
    """`at` in UTC; the script shows it in the reader's own zone."""
    utc = at.astimezone(UTC)
    said = f"{utc.day} {utc:%b %Y, %H:%M} UTC"
    return html('<time datetime="{exact}">{said}</time>', exact=f"{utc:%Y-%m-%dT%H:%M:%SZ}", said=said)

"""A receipt for people, on one page to print. Pure.

Whom it belongs to sees all of it, with what stands in the journal; the payer what the page of the payment says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from api.pages import owner_texts, page, texts
from api.pages.markup import Markup, html, joined
from api.pages.moments import moment
from api.pages.screens import Paid, Screen

_METHODS: Final[Mapping[str, str]] = {
    "stripe_checkout": "Card, on a page of Stripe",
    "stripe_x402.exact.usdc": "USDC, by a deposit",
    "x402.exact.usdc": "USDC, from a wallet",
}


def of_receipt(document: Mapping[str, Any], *, sandbox: bool) -> str:
    """The page of a signed receipt (`finance.receipt_signing.signed`), with the very document that can be checked."""
    stated, signature = document["receipt"], document["signature"]
    rows = _of_payment(stated) if stated["kind"] == "payment" else _of_job(stated)
    facts = joined(*(html("<dt>{name}</dt><dd>{value}</dd>", name=name, value=value) for name, value in rows))
    body = html(
        """<dl class="facts">{facts}</dl>
<section class="part"><h2>To check it</h2><p class="hint">{how}</p>
<pre id="document">{document}</pre></section>""",
        facts=facts,
        how=owner_texts.SIGNED_RECEIPT if signature is not None else owner_texts.UNSIGNED_RECEIPT,
        document=json.dumps(document, indent=2),
    )
    return page.of_owner(owner_texts.RECEIPT, body, sandbox=sandbox)


def of_payer(shown: Screen, paid: Paid, signature: Mapping[str, str] | None) -> str:
    """The receipt of `paid` for whoever has the link to its attempt.

    Made of the parts of the attempt's own page (`shown`), so that it tells nothing else of whom it belongs to. The
    signature is that of the whole receipt, and tells nothing of what it signs: that holds ids and a hash, which nobody
    can guess.
    """
    body = joined(page.what(shown), page.proof(paid), _signature(signature))
    return page.of_owner(texts.RECEIPT, body, sandbox=shown.sandbox)


def _signature(signature: Mapping[str, str] | None) -> Markup:
    if signature is None:
        return html('<p class="hint">{said}</p>', said=texts.UNSIGNED)
    return html(
        """<section class="part"><h2>Signature</h2><p class="hint">{said}</p>
<dl class="facts tall"><dt>Key</dt><dd>{key}</dd><dt>{algorithm}</dt><dd>{value}</dd></dl></section>""",
        said=texts.SIGNED,
        key=_code("key", signature["key_id"]),
        algorithm=signature["algorithm"],
        value=_code("signature", signature["value"]),
    )


def _of_payment(stated: Mapping[str, Any]) -> list[tuple[str, str | Markup]]:
    rows: list[tuple[str, str | Markup]] = [
        ("Receipt", _code("receipt", stated["receipt_id"])),
        ("Organization", _code("organization", stated["organization_id"])),
        ("Credits", f"{stated['credits']:,}"),
        ("Price", page.dollars(stated["subtotal_cents"])),
    ]
    if stated["discount_cents"]:
        rows.append(("Discount", f"−{page.dollars(stated['discount_cents'])}"))
    if stated["tax_cents"]:
        rows.append(("Tax", page.dollars(stated["tax_cents"])))
    return [
        *rows,
        ("Paid", html('<strong id="total">{total}</strong>', total=page.dollars(stated["amount_cents"]))),
        ("With", _METHODS.get(stated["payment_method"], stated["payment_method"])),
        ("On", moment(datetime.fromisoformat(stated["settled_at"]))),
        ("Real money", "Yes" if stated["live_money"] else "No: a test"),
        *_journal(stated),
    ]


def _of_job(stated: Mapping[str, Any]) -> list[tuple[str, str | Markup]]:
    return [
        ("Receipt", _code("receipt", stated["receipt_id"])),
        ("Organization", _code("organization", stated["organization_id"])),
        ("Job", _code("job", stated["job_id"])),
        ("Credits charged", f"{stated['credits']:,}"),
        ("On", moment(datetime.fromisoformat(stated["charged_at"]))),
        *_journal(stated),
    ]


def _journal(stated: Mapping[str, Any]) -> list[tuple[str, str | Markup]]:
    journal = stated["journal"]
    return [
        ("Entry of the journal", f"{journal['seq']:,}"),
        ("Hash up to it", html("<code>{head}</code>", head=journal["head"])),
    ]


def _code(name: str, value: str) -> Markup:
    return html('<code id="{name}">{value}</code>', name=name, value=value)

"""The hosted checkout page as HTML: what a person sees, and can click (https://docs.stripe.com/payments/checkout).

Pure text: values in, page out. Elements that a browser test may rely on have ids: `pay`, `pay-delayed`, `decline`,
`cancel`, `promotion_code`, `apply`, `error`, `amount`, `state`.
"""

import base64
import hashlib
from html import escape

from sandbox.state import Json

STYLE = """
* { box-sizing: border-box } body { margin: 0; font: 16px/1.5 system-ui, sans-serif; color: #1a1f36; background: #fff }
.banner { margin: 0; background: #ffe9b8; color: #6b4a00; text-align: center; padding: .5rem 1rem; font-size: .875rem }
main { display: flex; flex-wrap: wrap; min-height: calc(100vh - 2.4rem) } section { flex: 1 1 22rem; padding: 3.5rem }
section > div { max-width: 24rem; margin: 0 auto } .order { background: #0b2545; color: #fff }
.order a { color: #b9cdf0; text-decoration: none; font-size: .9rem } .what { color: #b9cdf0; margin: 2rem 0 0 }
.total { font-size: 2.4rem; font-weight: 650; margin: 0 0 2rem }
dl { display: grid; grid-template-columns: 1fr auto; gap: .6rem }
dt, dd { margin: 0 } dd { text-align: right }
.sum { border-top: 1px solid #3a5280; padding-top: .6rem; font-weight: 600 }
h2 { font-size: 1.2rem; margin: 0 0 1rem } .hint { color: #5c6579; font-size: .9rem } form { margin: 0 }
button { display: block; width: 100%; padding: .8rem; margin: 0 0 .8rem; cursor: pointer;
 font: inherit; font-weight: 600;
 border: 1px solid #cdd5e2; border-radius: .45rem; background: #fff; color: #1a1f36 }
button.main { background: #1755d4; border-color: #1755d4; color: #fff } button:hover { filter: brightness(.95) }
.row { display: flex; gap: .5rem; margin: 0 0 1.4rem } .row button { width: auto; margin: 0; padding: .6rem 1rem }
input { flex: 1; min-width: 0; font: inherit; padding: .6rem; border: 1px solid #cdd5e2; border-radius: .45rem }
.card { border: 1px solid #cdd5e2; border-radius: .45rem; padding: .8rem; margin: 0 0 1rem }
.error { background: #fdecec; color: #9b1c1c; border-radius: .45rem; padding: .8rem; margin: 0 0 1rem }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}


def checkout(session: Json, items: list[Json], error: str | None = None) -> str:
    """The page of an open session, with an error above the buttons if the last click failed."""
    back = ""
    if session["cancel_url"]:
        back = f'<a id="cancel" href="{escape(session["cancel_url"])}">← Cancel and go back</a>'
    order = f"""<section class="order"><div>{back}
<p class="what">{escape(items[0]["description"])}</p><p class="total" id="amount">{money(session["amount_total"])}</p>
<dl>{_lines(session, items)}</dl></div></section>"""
    return _page("Checkout", f"<main>{order}<section><div>{_forms(session, error)}</div></section></main>")


def told(title: str, text: str, link: str | None = None) -> str:
    """A page that only says something: complete, expired, unknown."""
    more = f'<p><a href="{escape(link)}">Continue to the shop</a></p>' if link else ""
    said = f'<h2>{escape(title)}</h2><p class="hint">{escape(text)}</p>{more}'
    return _page(title, f'<main><section><div id="state">{said}</div></section></main>')


def money(cents: int) -> str:
    """`500` → `$5.00`; the sandbox plays US dollars only."""
    return f"${cents // 100:,}.{cents % 100:02}"


def _lines(session: Json, items: list[Json]) -> str:
    rows = [(f"{escape(item['description'])} × {item['quantity']}", item["amount_subtotal"]) for item in items]
    details = session["total_details"]
    lines = [f"<dt>{name}</dt><dd>{money(cents)}</dd>" for name, cents in rows]
    if details["amount_discount"]:
        lines.append(f"<dt>Discount</dt><dd>−{money(details['amount_discount'])}</dd>")
    if details["amount_tax"]:
        lines.append(f"<dt>Tax</dt><dd>{money(details['amount_tax'])}</dd>")
    total = money(session["amount_total"])
    return "".join(lines) + f'<dt class="sum">Total due</dt><dd class="sum">{total}</dd>'


def _forms(session: Json, error: str | None) -> str:
    failed = f'<p class="error" id="error" role="alert">{escape(error)}</p>' if error else ""
    promotion = ""
    if session["allow_promotion_codes"]:
        promotion = """<form method="post"><div class="row"><input id="promotion_code" name="promotion_code"
 aria-label="Promotion code" placeholder="Promotion code" maxlength="40" required>
<button id="apply" name="action" value="apply_code">Apply</button></div></form>"""
    email = f'<p class="hint">{escape(session["customer_email"])}</p>' if session["customer_email"] else ""
    return f"""<h2>Pay</h2>{email}{failed}{promotion}
<p class="card">4242 4242 4242 4242 &nbsp; 12 / 34 &nbsp; 123</p>
<form method="post">
<button class="main" id="pay" name="action" value="pay">Pay {money(session["amount_total"])}</button>
<button id="pay-delayed" name="action" value="pay_delayed">Pay by bank debit (arrives later)</button>
<button id="decline" name="action" value="decline">Pay with a card that is declined</button>
</form>
<p class="hint">Nothing you click here moves real money: this page pretends to be Stripe Checkout.</p>"""


def _page(title: str, body: str) -> str:
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)} · SANDBOX</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>
<body><p class="banner" role="note">SANDBOX: a pretend Stripe. No real money.</p>{body}</body></html>"""

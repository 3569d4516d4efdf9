"""What an operator is not shown of a letter: secrets, bearer links, cards, and whom the payer is."""

import json
import time

import pytest

from webhooks.redaction import REDACTED, TOO_DEEP, body, redacted

CARD = "4242424242424242"


@pytest.mark.parametrize(
    "field",
    [
        "client_secret", "api_key", "token", "email", "receipt_email", "phone", "address", "billing_details",
        "customer_name", "customer_details", "customer_email", "shipping", "shipping_details", "tax_ids", "name", "url",
        "receipt_url", "hosted_voucher_url", "success_url", "evidence", "Email", "ip_address",
    ],
)  # fmt: skip
@pytest.mark.parametrize("value", ["of a payer", {"line1": "Main St 5"}, ["Main St 5"], 49170])
def test_a_field_that_tells_of_the_payer_or_opens_a_page_is_struck_out(field, value):
    assert redacted({"data": [{field: value, "id": "ch_1"}]}) == {"data": [{field: REDACTED, "id": "ch_1"}]}


@pytest.mark.parametrize(
    "secret",
    [
        CARD, "4242 4242 4242 4242", "4242-4242-4242-4242", "4242.4242.4242.4242", f"card{CARD}x", f"_{CARD}_",
        f"12 {CARD}", f"1234567 {CARD}", "378282246310005", "4000000000006", "6200000000000000003",
        "sk_live_4eC39HqLyjWDarjtT1zdp7dc", "whsec_abcdefghijkl", "isk_r_01m7yp6jvteqsry0004dtx2t8xSECRET",
        "pok_01m7yp6jvteqsry0004dtx2t8x", "pi_3_secret_abcdefgh", "Bearer eyJhbGciOi.aa.bb", "bearer abcdefghijklmnop",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3-jVmNHl0w5N_XgL0n3I9", "jane.doe+shop@mail.example.com",
        "https://checkout.stripe.com/c/pay/cs_live_a1b2#fid", "HTTPS://pay.stripe.com/receipts/payment/CAcaFwoVYWNjdF8xT",
    ],
)  # fmt: skip
def test_what_looks_like_a_secret_is_struck_out_wherever_it_stands(secret):
    hidden = secret[-9:]
    for shown in (redacted({"metadata": {"note": f"a {secret} b"}}), redacted([secret]), redacted({secret: 1})):
        assert REDACTED in json.dumps(shown)
        assert hidden not in json.dumps(shown)
    assert hidden not in body(f"no JSON: {secret}".encode())


@pytest.mark.parametrize("number", [int(CARD), -int(CARD), 4000000000006, 6200000000000000003, float(CARD)])
def test_a_number_as_long_as_a_cards_is_struck_out(number):
    assert redacted({"number": number}) == {"number": REDACTED}


def test_ids_amounts_states_and_times_are_kept():
    kept = {
        "id": "evt_1MqqbKLt4dXK03v5qaIbiNCC", "amount": 500, "amount_shipping": 5, "shipping_cost": {"amount_total": 7},
        "livemode": False, "created": 1763739000, "status": "succeeded", "exchange_rate": 1.0821,
        "data": {"object": {"id": "cs_a1", "email": None, "payment_intent": "pi_3MtwBwLkdIwHu7ix28a3tqPa"}},
        "metadata": {"purser_attempt": "payatt_01m7yp6eyjeqsry0004dtx2t8x", "at": "2026-11-21 15:31:59.123"},
        "transaction": "0x" + "1234567890" * 6 + "abcd", "to": "0x" + "1234567890" * 4,
    }  # fmt: skip
    assert redacted(kept) == kept


@pytest.mark.parametrize("levels", [40, 900, 3_000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [(b'{"a":', b"}"), (b"[", b"]")])
def test_what_is_nested_too_deeply_is_not_shown_and_breaks_nothing(levels, opening, closing):
    raw = opening * levels + b'{"email":"jane@example.com","client_secret":"hidden-word"}' + closing * levels
    shown = json.dumps(body(raw))
    assert TOO_DEEP in shown
    assert "jane" not in shown
    assert "hidden-word" not in shown


def test_what_is_no_json_is_shown_as_its_beginning():
    assert body(b"\xff hello " + b"." * 30_000)[:8] == "\ufffd hello "
    assert len(body(b"x" * 30_000)) == 20_000


@pytest.mark.parametrize("text", ["a" * 300_000, "1 " * 150_000, "bearer" * 50_000, "eyj." * 75_000])
def test_a_long_text_is_struck_in_one_go(text):
    started = time.thread_time()  # of the processor: a machine that stalls is no fault of ours
    redacted({"note": text})
    assert time.thread_time() - started < 2

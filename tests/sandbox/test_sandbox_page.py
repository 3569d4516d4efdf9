"""The hosted page as a browser without scripts sees it; the real browser walks it in the tests of the whole service."""

import httpx
import pytest
import stripe

from tests.sandbox.conftest import Receiver, Sandbox, new_session


@pytest.fixture
def browser(sandbox: Sandbox) -> httpx.Client:
    sandbox.browser.base_url = httpx.URL(sandbox.url)
    return sandbox.browser


def test_page_shows_item_amount_and_the_ways_out(browser: httpx.Client, client: stripe.StripeClient) -> None:
    page = browser.get(f"/c/pay/{new_session(client).id}")
    assert page.status_code == 200
    for text in ("SANDBOX", "500 credits", "$5.00", 'id="pay"', 'id="decline"', 'href="http://127.0.0.1:9/cancel"'):
        assert text in page.text
    assert 'id="promotion_code"' not in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]


def test_text_of_the_merchant_cannot_become_markup(browser: httpx.Client, client: stripe.StripeClient) -> None:
    price = {"currency": "usd", "unit_amount": 500, "product_data": {"name": "<script>alert(1)</script>"}}
    page = browser.get(f"/c/pay/{new_session(client, line_items=[{'quantity': 1, 'price_data': price}]).id}")
    assert "<script>" not in page.text


def test_paying_tells_the_shop_first_and_then_goes_back_to_it(
    browser: httpx.Client, client: stripe.StripeClient, receiver: Receiver
) -> None:
    session = new_session(client)
    answer = browser.post(f"/c/pay/{session.id}", data={"action": "pay"})
    assert answer.status_code == 303
    assert answer.headers["Location"] == f"http://127.0.0.1:9/return?session_id={session.id}"
    assert "checkout.session.completed" in receiver.types(session.id)
    again = browser.post(f"/c/pay/{session.id}", data={"action": "pay"})
    assert "complete already" in again.text
    assert receiver.types(session.id).count("checkout.session.completed") == 1


def test_declining_shows_why_and_stays(browser: httpx.Client, client: stripe.StripeClient) -> None:
    session = new_session(client)
    page = browser.post(f"/c/pay/{session.id}", data={"action": "decline"})
    assert page.status_code == 200
    assert 'id="error"' in page.text
    assert "declined" in page.text
    assert client.v1.checkout.sessions.retrieve(session.id).status == "open"


def test_bank_debit_goes_back_unpaid(browser: httpx.Client, client: stripe.StripeClient) -> None:
    session = new_session(client)
    assert browser.post(f"/c/pay/{session.id}", data={"action": "pay_delayed"}).status_code == 303
    assert client.v1.checkout.sessions.retrieve(session.id).payment_status == "unpaid"


def test_promotion_code_takes_its_percentage_off(browser: httpx.Client, client: stripe.StripeClient) -> None:
    path = f"/c/pay/{new_session(client, allow_promotion_codes=True).id}"
    assert "invalid" in browser.post(path, data={"action": "apply_code", "promotion_code": "NOPE"}).text
    page = browser.post(path, data={"action": "apply_code", "promotion_code": "sandbox10"})
    assert "$4.50" in page.text
    browser.post(path, data={"action": "pay"})
    paid = client.v1.checkout.sessions.retrieve(path.rsplit("/", 1)[1])
    assert (paid.amount_subtotal, paid.amount_total) == (500, 450)


def test_expired_and_unknown_pages_say_so(browser: httpx.Client, client: stripe.StripeClient) -> None:
    session = new_session(client)
    client.v1.checkout.sessions.expire(session.id)
    assert "has expired" in browser.get(f"/c/pay/{session.id}").text
    assert browser.get("/c/pay/cs_test_nothing").status_code == 404
    assert "has expired" in browser.post(f"/c/pay/{session.id}", data={"action": "pay"}).text

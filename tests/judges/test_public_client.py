"""The public agent CLI, unmodified, in both versions: the judge of the contract."""

import pytest

from tests.judges.public_client import VERSIONS, Client, missing
from tests.service import new_contact, until


@pytest.fixture(params=[pytest.param(VERSIONS[0], marks=pytest.mark.long), VERSIONS[1]])
def client(request, service, tmp_path):
    if (reason := missing(request.param)) is not None:
        pytest.skip(f"NOT RUN: {reason}")
    return Client(request.param, tmp_path, service.url)


@pytest.fixture
def signed_up(client):
    contact = new_contact()
    data = client.run(
        "signup", "--agent", "--agent-contact", contact, "--agent-name", "judge", "--runtime", "pytest", "--save"
    )
    assert data["token"] is None, "the client hides the token that it saved"
    assert data["storage"]["saved"] is True
    return client


def test_doctor_finds_a_healthy_service(client):
    assert client.run("doctor")["hosted_api"]["reachable"] is True


def test_a_malformed_contact_is_explained_in_the_clients_own_words(client):
    error = client.run(
        "signup", "--agent", "--agent-contact", "nobody", "--agent-name", "judge", "--runtime", "x", exits=2
    )
    assert error["code"] == "INVALID_ARGUMENTS"


def test_without_a_token_the_client_ends_with_3(client):
    assert client.run("whoami", "--token", "isk_r_nonsense", exits=3)["code"] == "AUTH_REQUIRED"


def test_who_am_i_and_what_have_i_got(signed_up):
    assert signed_up.run("whoami")["authenticated"] is True
    quota = signed_up.run("usage", "quota")
    assert quota["limits"]["remaining_credits"] == 0
    assert quota["limits"]["payment_backed_remaining_credits"] == 0


def test_the_catalog_lists_the_clients_methods_first_and_the_starter_pack(client):
    methods = client.run("credits", "methods")["methods"]
    assert [method["method_id"] for method in methods] == [
        "stripe_checkout", "stripe_x402.exact.usdc", "x402.exact.usdc",
    ]  # fmt: skip
    packs = client.run("credits", "packs", "list")["packs"]
    assert "starter-500" in {pack["pack_id"] for pack in packs}


def test_a_wallet_tops_up_by_itself(signed_up, sandbox):
    quote = signed_up.run(
        "credits", "quote", "--pack", "starter-500", "--payment-method", "stripe_x402.exact.usdc",
        "--idempotency-key", "judge-x402",
    )  # fmt: skip
    assert (quote["state"], quote["credits"], quote["price_amount_cents"]) == ("created", 500, 500)
    key = f"purchase:{quote['quote_id']}"
    bought = signed_up.run(
        "credits", "buy", "--provider", "stripe_x402", "--quote-id", quote["quote_id"], "--idempotency-key", key
    )
    assert (bought["state"], bought["provider"]) == ("action_required", "stripe")
    sandbox.send_usdc(bought["stripe_x402"]["payable_instructions"])
    paid_for(signed_up, "--quote-id", quote["quote_id"])


def test_a_human_tops_up_for_an_agent(signed_up, sandbox):
    quote = signed_up.run(
        "credits", "quote", "--credits", "500", "--payment-method", "stripe_checkout", "--idempotency-key", "judge"
    )
    bought = signed_up.run(
        "credits", "buy", "--provider", "stripe", "--quote-id", quote["quote_id"], "--idempotency-key", "judge"
    )
    assert bought["checkout_handoff_url"].endswith(f"/pay/{bought['payment_attempt_id']}")
    assert bought["next"]["human_action"] == "open_checkout_url"
    sandbox.pay(bought["checkout_session_id"])
    data = paid_for(signed_up, "--checkout-session-id", bought["checkout_session_id"])
    receipt = data["receipt"]["receipt_id"]
    assert signed_up.run("credits", "status", "--receipt-id", receipt)["state"] == "succeeded"
    attempt = bought["payment_attempt_id"]
    assert signed_up.run("credits", "status", "--payment-attempt-id", attempt)["state"] == "succeeded"
    types = [event["type"] for event in signed_up.run("activity", "list")["events"]]
    assert types == ["credits.payment_backed_granted", "payment.checkout_session.created"]


def paid_for(client, flag, reference):
    def look():
        data = client.run("credits", "status", flag, reference)
        return data if data["state"] == "succeeded" else None

    data = until(look)
    assert data["credit_event"] is not None
    assert data["limits"]["payment_backed_remaining_credits"] == 500
    return data


def test_another_price_under_the_same_key_is_a_conflict_and_the_suggested_command_works(signed_up):
    terms = ("credits", "quote", "--payment-method", "stripe_checkout", "--idempotency-key", "same")
    signed_up.run(*terms, "--credits", "500")
    error = signed_up.run(*terms, "--credits", "600", exits=1)
    assert error["code"] == "CREDIT_QUOTE_CONFLICT"
    words = error["recovery"]["suggested_command"].split()
    suggested = words[words.index("credits") :]
    fresh = [word for word in suggested if word != "--json"]
    fresh = fresh[: fresh.index("--api-base-url")] if "--api-base-url" in fresh else fresh
    assert signed_up.run(*fresh)["credits"] == 600


def test_two_references_at_once_are_refused(signed_up):
    error = signed_up.run("credits", "status", "--quote-id", "quote_a", "--receipt-id", "receipt_b", exits=2)
    assert error["code"] == "INVALID_ARGUMENTS"


def test_status_without_a_reference_is_the_quota(signed_up):
    assert signed_up.run("credits", "status")["limits"]["payment_backed_remaining_credits"] == 0

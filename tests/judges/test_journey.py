"""The whole journey of the unmodified public client, in both versions: from a base URL to work that is done."""

import json

import pytest

from tests.judges.guided import words_of
from tests.judges.public_client import VERSIONS, Client, missing
from tests.service import new_contact, new_key, until

PROMPT = "a fox in the snow"
X402 = "stripe_x402.exact.usdc"


@pytest.fixture(params=[pytest.param(VERSIONS[0], marks=pytest.mark.long), VERSIONS[1]])
def client(request, service, tmp_path):
    if (reason := missing(request.param)) is not None:
        pytest.skip(f"NOT RUN: {reason}")
    return Client(request.param, tmp_path, service.url)


def guided(client, stage):
    """What the guide says to do next, in the stage that it must be in."""
    data = client.run("create", "--prompt", PROMPT, "--guide")
    assert data["stage"] == stage, data
    return words_of(data["next_command"])


def sign_up(client):
    who = ("--agent-contact", new_contact(), "--agent-name", "judge", "--runtime", "pytest", "--save")
    client.run("signup", "--agent", *who)


def top_up(client, sandbox, quote_words):
    """Quote as the guide says, buy, pay as a wallet, and wait for the credits."""
    quote = client.run(*quote_words)
    bought = client.run(
        "credits", "buy", "--provider", "stripe_x402", "--quote-id", quote["quote_id"],
        "--idempotency-key", f"purchase:{quote['quote_id']}",
    )  # fmt: skip
    sandbox.send_usdc(bought["stripe_x402"]["payable_instructions"])
    status = ("credits", "status", "--quote-id", quote["quote_id"])
    until(lambda: client.run(*status)["state"] == "succeeded")
    return quote


def create(client, *words, exits=0):
    return client.run("create", "--prompt", PROMPT, *words, exits=exits)


def test_from_a_base_url_to_work_that_is_done_and_told(client, sandbox):
    assert guided(client, "auth_required")[0] == "signup"
    sign_up(client)
    quote_words = guided(client, "quota_required")
    assert quote_words[:2] == ["credits", "quote"]
    quote = top_up(client, sandbox, quote_words)
    assert guided(client, "ready_to_create")[0] == "create"

    planned = create(client, "--dry-run")
    assert (planned["status"], planned["quota"]["consumed_credits"]) == ("planned", 0)
    price = planned["cost"]["credit_pricing"]["credits_required"]
    key = new_key()
    done = create(client, "--idempotency-key", key)
    assert (done["status"], done["quota"]["consumed_credits"]) == ("completed", price)
    assert done["assets"]
    assert create(client, "--idempotency-key", key)["job_id"] == done["job_id"]
    left = client.run("usage", "quota")["limits"]["payment_backed_remaining_credits"]
    assert left == quote["credits"] - price

    shown = client.run("jobs", "show", done["job_id"])
    assert (shown["job"]["status"], shown["assets"]) == ("completed", done["assets"])
    assert client.run("jobs", "wait", done["job_id"])["job"]["status"] == "completed"
    plan = client.run("jobs", "show", planned["job_id"])
    assert (plan["status"], plan["job"]["status"]) == ("planned", "planned")
    assert client.run(
        "jobs", "wait", planned["job_id"], "--timeout-ms", "50", "--poll-interval-ms", "10", exits=8
    )["code"] == "TIMEOUT"  # fmt: skip

    feedback = client.run("feedback", "create", "--title", "It works", "--body", "Thank you.")
    assert feedback["feedback_id"].startswith("sig_")
    events = client.run("activity", "list", "--limit", "50")["events"]
    types = [event["type"] for event in events]
    assert types[0] == "feedback.created"
    assert set(types) == {
        "feedback.created", "job.completed", "asset.created", "usage.credit_consumed", "job.planned",
        "credits.payment_backed_granted",
    }  # fmt: skip
    consumed = next(event for event in events if event["type"] == "usage.credit_consumed")
    references = [done["job_id"], feedback["feedback_id"], consumed["event_id"], consumed["links"]["usage_event_id"]]
    for reference in [*references, done["assets"][0]["asset_id"]]:
        assert client.run("activity", "show", reference)["events"], reference


@pytest.mark.long
def test_an_account_that_runs_out_in_mid_journey_tops_up_and_goes_on(client, sandbox):
    sign_up(client)
    terms = ("credits", "quote", "--credits", "50", "--payment-method", X402)
    top_up(client, sandbox, terms)
    price = create(client, "--dry-run")["cost"]["credit_pricing"]["credits_required"]
    for _ in range(50 // price):
        create(client, "--idempotency-key", new_key())
    key = new_key()
    error = create(client, "--idempotency-key", key, exits=5)
    assert (error["code"], error["retryable"]) == ("QUOTA_EXCEEDED", False)
    commands = error["recovery"]["top_up"]["commands"]
    assert set(commands) == {
        "inspect_methods", "inspect_packs", "quote", "buy", "status", "fallback_quote", "fallback_buy",
    }  # fmt: skip
    assert create(client, "--idempotency-key", key, exits=5)["code"] == "QUOTA_EXCEEDED"
    assert guided(client, "quota_required")[:2] == ["credits", "quote"]
    top_up(client, sandbox, words_of(commands["quote"]))
    assert create(client, "--idempotency-key", key, exits=5)["code"] == "QUOTA_EXCEEDED", "a refused key stays refused"
    assert create(client, "--idempotency-key", new_key())["status"] == "completed"


def test_a_stranger_looks_around(client):
    assert client.run("doctor")["hosted_api"]["reachable"] is True
    trust = client.run("trust")
    assert trust["summary"]["status"] in {"usable_with_warnings", "usable"}
    models = client.run("models", "list")["models"]
    assert models
    for name in (models[0]["id"], "default"):
        assert client.run("models", "show", name), name
    planned = create(client, "--dry-run")
    assert (planned["status"], planned.get("job_id")) == ("planned", None)


REFUSED = [
    ("unknown model", ("create", "--prompt", "x", "--dry-run", "--model", "nobody.nothing"), 4),
    ("a catalogued model", ("create", "--prompt", "x", "--dry-run", "--model", "house.sculptor"), 4),
    ("above the budget", ("create", "--prompt", "x", "--dry-run", "--max-estimated-usd-per-image", "0.001"), 1),
    ("no token", ("jobs", "show", "job_x"), 3),
    ("an unknown command", ("nonsense",), 2),
]


@pytest.mark.parametrize(("words", "exits"), [pytest.param(*rest, id=name) for name, *rest in REFUSED])
def test_refusals_end_the_client_with_the_documented_code(client, words, exits):
    assert json.loads(client.said(*words, exits=exits))["error"]["code"]

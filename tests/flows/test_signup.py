import json

import pytest

from tests.service import agent_of, data_of, envelope_of, error_of, new_agent, new_contact, sign_up

MALFORMED_CONTACTS = [
    "", "nobody", "a@b", "@agents.example", "a@@agents.example", "a b@agents.example", "a@agents.example\x00",
    "a@agents..example", "<a@agents.example>", "a@agents.example,b@agents.example", 7, True, ["a@agents.example"],
    "a" * 250 + "@agents.example",
]  # fmt: skip


def test_signup_shows_the_token_once_and_the_books_open_empty(http, service):
    envelope = envelope_of(sign_up(http, agent_contact="  Someone@Agents.Example "))
    data = envelope["data"]
    assert data["token"].startswith("isk_r_")
    assert data["agent_contact"] == "someone@agents.example"
    assert envelope["actor"]["actor_id"] == data["agent_id"]
    assert any("returned once" in warning for warning in envelope["warnings"])
    agent = agent_of(http, data)
    assert agent.get("/v1/whoami")["organization"]["organization_id"] == data["organization_id"]
    assert agent.get("/v1/quota")["limits"] == {
        "remaining_credits": 0,
        "payment_backed_remaining_credits": 0,
        "held_credits": 0,
    }
    secret = data["token"].removeprefix("isk_r_")[26:]
    [(stored,)] = service.database.rows(
        "SELECT string_agg(to_jsonb(t)::text, ' ') FROM billing.agent_tokens t JOIN billing.agents a "
        "ON a.id = t.agent_id WHERE a.contact = $1",
        "someone@agents.example",
    )
    assert secret not in stored


def test_signup_without_a_wanted_token_makes_none(http, service):
    contact = new_contact()
    data = data_of(sign_up(http, agent_contact=contact, return_token=False))
    assert (data["token"], data["token_status"]) == (None, "not_issued")
    query = "SELECT count(*) FROM billing.agent_tokens t JOIN billing.agents a ON a.id = t.agent_id WHERE contact = $1"
    assert service.database.rows(query, contact) == [(0,)]


@pytest.mark.parametrize("value", [None, 1, "true", []], ids=repr)
def test_return_token_is_true_or_false(http, value):
    error_of(sign_up(http, return_token=value), 400, "INVALID_ARGUMENTS")


def test_signup_without_a_contact_makes_a_new_agent_each_time(http):
    first, second = new_agent(http), new_agent(http)
    assert first.organization_id != second.organization_id


@pytest.mark.parametrize("contact", MALFORMED_CONTACTS, ids=repr)
def test_malformed_contact_is_refused_with_the_sentence_that_the_client_knows(http, contact):
    error = error_of(sign_up(http, agent_contact=contact), 400, "INVALID_ARGUMENTS")
    assert error["message"] == "agent_contact must be an email-shaped durable contact inbox"
    error = error_of(sign_up(http, human_email=contact), 400, "INVALID_ARGUMENTS")
    assert error["message"] == "human_email must be a valid email address"


def test_the_older_name_of_the_contact_is_taken_when_both_agree(http):
    contact = new_contact()
    assert data_of(sign_up(http, human_email=contact))["agent_contact"] == contact
    assert data_of(sign_up(http, human_email=contact, agent_contact=contact))["agent_contact"] == contact
    error_of(sign_up(http, human_email=contact, agent_contact=new_contact()), 400, "INVALID_ARGUMENTS")


@pytest.mark.parametrize("field", ["agent_name", "runtime"])
@pytest.mark.parametrize("value", [None, "", "   ", "a" * 81, "a\x00b", "a\nb", "\ud800", 5, {}], ids=repr)
def test_names_are_text_of_1_to_80_characters(http, field, value):
    body = {"agent_name": "a", "runtime": "b", field: value}
    answer = http.post("/v1/agent-signups", content=json.dumps(body).encode())
    assert error_of(answer, 400, "INVALID_ARGUMENTS")["message"].startswith(f"{field} ")


def test_names_in_other_scripts_are_taken(http):
    assert data_of(sign_up(http, agent_name="Ağent 🤖 中文"))["agent_name"] == "Ağent 🤖 中文"


@pytest.mark.parametrize("value", ["", "Has Space", "UPPER", "a" * 65, 1, "ünicode"], ids=repr)
def test_discovery_source_is_a_short_plain_word(http, value):
    error_of(sign_up(http, discovery_source=value), 400, "INVALID_ARGUMENTS")
    assert data_of(sign_up(http, discovery_source="docs.v1_a-b"))["created"]


def test_signing_up_again_with_the_token_rotates_it(http):
    contact = new_contact()
    first = new_agent(http, agent_contact=contact)
    again = data_of(sign_up(http, agent_contact=contact, token=first.token, agent_name="renamed"))
    assert (again["agent_id"], again["rotated"], again["agent_name"]) == (first.agent_id, True, "renamed")
    assert again["old_token_works_until"] > data_of(first.send("GET", "/v1/whoami"))["token_created_at"]
    assert agent_of(http, again).get("/v1/whoami")["agent"]["agent_name"] == "renamed"


def test_signing_up_again_takes_over_an_agent_that_has_nothing(http):
    contact = new_contact()
    first = new_agent(http, agent_contact=contact)
    again = data_of(sign_up(http, agent_contact=contact.upper()))
    assert (again["agent_id"], again["rotated"]) == (first.agent_id, True)
    assert again["old_token_works_until"] is not None
    error_of(first.send("GET", "/v1/whoami"), 401, "AUTH_REQUIRED")


@pytest.mark.parametrize("asset", ["quote", "second agent"])
def test_an_address_is_no_key_to_an_organization_that_has_something(http, asset):
    contact = new_contact()
    first = new_agent(http, agent_contact=contact)
    if asset == "quote":
        first.quote()
    else:
        first.post("/v1/agents", {"agent_name": "second", "runtime": "pytest"})
    envelope = envelope_of(sign_up(http, agent_contact=contact))
    data = envelope["data"]
    assert data["created"]
    assert data["organization_id"] != first.organization_id
    assert any("signed up before" in warning for warning in envelope["warnings"])
    assert first.get("/v1/whoami")["agent"]["agent_id"] == first.agent_id
    kept = data_of(sign_up(http, agent_contact=contact, token=first.token))
    assert (kept["agent_id"], kept["rotated"]) == (first.agent_id, True)


def test_an_answer_lost_by_signing_up_again_is_asked_for_again(http):
    contact = new_contact()
    first = new_agent(http, agent_contact=contact)
    first.quote()
    for _ in range(2):
        again = data_of(sign_up(http, agent_contact=contact, token=first.token))
    assert agent_of(http, again).get("/v1/whoami")["agent"]["agent_id"] == first.agent_id


def test_the_token_of_another_agent_takes_nothing_over(http):
    contact = new_contact()
    first, stranger = new_agent(http, agent_contact=contact), new_agent(http)
    first.quote()
    data = data_of(sign_up(http, agent_contact=contact, token=stranger.token))
    assert data["organization_id"] not in {first.organization_id, stranger.organization_id}


@pytest.mark.parametrize("token", ["isk_r_", "isk_r_" + "0" * 26 + "x" * 43, "nonsense", "x" * 5000])
def test_a_bad_token_at_signup_is_refused_and_makes_nothing(http, service, token):
    contact = new_contact()
    error_of(sign_up(http, agent_contact=contact, token=token), 401, "AUTH_REQUIRED")
    assert service.database.rows("SELECT count(*) FROM billing.agents WHERE contact = $1", contact) == [(0,)]


def test_signups_of_one_address_are_limited_and_forwarded_addresses_are_not_believed(strict_http):
    answers = [
        strict_http.post(
            "/v1/agent-signups",
            json={"agent_name": "a", "runtime": "b"},
            headers={"x-forwarded-for": f"10.0.0.{number}"},
        )
        for number in range(4)
    ]
    limited = answers[-1]
    wait_s = error_of(limited, 429, "RATE_LIMITED")["recovery"]["retry_after_seconds"]
    assert limited.headers["retry-after"] == str(wait_s)
    assert 1 <= wait_s <= 60


def signups_by(client, *forwarded):
    body = {"agent_name": "a", "runtime": "b"}
    answers = [client.post("/v1/agent-signups", json=body, headers={"x-forwarded-for": one}) for one in forwarded]
    return [answer.status_code for answer in answers]


def test_behind_a_trusted_proxy_the_address_that_it_names_is_counted(measured):
    assert signups_by(measured, *["198.51.100.1"] * 3) == [200, 200, 429]
    assert signups_by(measured, "198.51.100.2", "10.1.1.1, 198.51.100.1", "198.51.100.3, 127.0.0.7") == [200, 429, 200]


def test_addresses_of_one_ipv6_network_are_counted_as_one(measured):
    assert signups_by(measured, "2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1") == [200, 200, 429, 200]

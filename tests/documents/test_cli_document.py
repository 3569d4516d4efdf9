"""Every command of `/cli.md`, typed as it stands there into the real public client of both versions."""

import re

import pytest

from api.documents.client_commands import COMMANDS, TOKEN
from tests.giving import give
from tests.judges.public_client import VERSIONS, Client, missing
from tests.service import Agent, new_contact, new_key

METHODS = {"stripe": "stripe_checkout", "stripe_x402": "stripe_x402.exact.usdc"}


@pytest.fixture(params=[pytest.param(VERSIONS[0], marks=pytest.mark.long), VERSIONS[1]])
def client(request, service, tmp_path):
    if (reason := missing(request.param)) is not None:
        pytest.skip(f"NOT RUN: {reason}")
    return request.param, Client(request.param, tmp_path, service.url)


def learned(words, data):
    """What later commands need, from what this one was answered."""
    for field, word in (("quote_id", "QUOTE_ID"), ("job_id", "JOB_ID"), ("payment_attempt_id", "ID")):
        if isinstance(data.get(field), str):
            words[word] = data[field]
    if data.get("models"):
        words["MODEL_ID"] = data["models"][0]["id"]
    words["REFERENCE"] = words.get("JOB_ID", "")


@pytest.mark.long
def test_every_command_of_the_document_works_as_it_stands(client, http, database):
    version, typed = client
    words = {"NAME": "reader", "RUNTIME": "pytest", "PROMPT": "a lighthouse", "INBOX": new_contact(), "NUMBER": "75"}
    words |= {"PACK_ID": "starter-500", "METHOD_ID": METHODS["stripe"], "TITLE": "a title", "BODY": "a body"}

    def run(line):
        return typed.run(*(re.sub(r"^[A-Z_]+$", lambda word: words[word[0]], each) for each in line.split()))

    for command in [each for each in COMMANDS if version >= each.since]:
        words["KEY"] = new_key()
        if provider := re.search(r"--provider (\w+)", command.words):
            words["METHOD_ID"] = METHODS[provider[1]]
            learned(words, run("credits quote --pack PACK_ID --payment-method METHOD_ID"))
        data = run(command.words)
        learned(words, data)
        if command.words.startswith("signup"):
            give(database, Agent(http, "", data["agent_id"], data["organization_id"]), 100)


def test_what_needs_no_token_is_served_without_one(client):
    _, typed = client
    for command in COMMANDS:
        line = command.words.replace("PROMPT", "lighthouse")
        if command.needs != TOKEN and not re.search(r"[A-Z]{3}", line):
            typed.run(*line.split())

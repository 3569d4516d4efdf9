"""An agent that has read `/skill.md` alone does what stands there, line by line, and gets what it says."""

import json
import re
from types import SimpleNamespace
from typing import Any

import pytest

from api.http.routes import document
from tests.documents.judging import described
from tests.service import Agent, data_of, new_key

BLOCK = re.compile(r"```http\n([A-Z]+) (\S+)\n(?:(\{.*\})\n)?```")
NAMED = re.compile(r"\b(GET|POST|PUT|DELETE) (/[\w/{}.-]*[\w}])")
DOCUMENTS = ("/llms.txt", "/skill.md", "/cli.md")


def text_of(http, path):
    answer = http.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(("text/plain", "text/markdown"))
    assert answer.headers["cache-control"] == "public, max-age=300"
    return answer.text


@pytest.mark.parametrize("path", DOCUMENTS)
def test_a_document_names_this_service_and_no_other(http, service, path):
    text = text_of(http, path)
    hosts = set(re.findall(r"https?://[\w.]+(?::\d+)?", text))
    assert hosts == {service.url}
    assert not re.search(r"\bNone\b|\{here|\{url", text)


@pytest.mark.parametrize("path", DOCUMENTS)
def test_every_request_that_a_document_names_is_served(http, path):
    served = [(operation.method, at) for at, operation in described()]
    for method, named in NAMED.findall(text_of(http, path)):
        assert any(method == known and at.fullmatch(named) for known, at in served), (method, named)


def test_the_documents_are_short():
    from docs import served

    sizes = {name: len(text) for name, text in served.documents().items()}
    assert max(sizes["llms.txt"], sizes["cli.md"]) < 16_000
    assert sizes["skill.md"] < 20_000
    assert sizes["openapi.json"] < 2_000_000


class Reader:
    """Knows what answers gave, and puts it where a document has a word in capitals."""

    def __init__(self) -> None:
        self.words: dict[str, str] = {"NAME": "reader", "RUNTIME": "pytest", "PROMPT": "a lighthouse"}
        self.fresh = new_key()

    def filled(self, text: str) -> str:
        for word, value in self.words.items():
            text = re.sub(rf"\b{word}\b", value, text)
        return text

    def learns(self, data: dict[str, Any]) -> None:
        for field in ("token", "quote_id", "hold_id", "job_id"):
            if isinstance(data.get(field), str):
                self.words[field.upper()] = data[field]
        if isinstance(data.get("hold"), dict):
            self.learns(data["hold"])


def test_who_follows_the_skill_buys_and_spends(http, sandbox):
    reader, done = Reader(), []
    blocks = BLOCK.findall(text_of(http, "/skill.md"))
    assert len(blocks) > 10
    for method, path, body in blocks:
        sent = json.loads(reader.filled(body)) if body else None
        agent = Agent(http, reader.words.get("TOKEN", ""), "", "")
        data = data_of(agent.send(method, reader.filled(path), sent))
        reader.learns(data)
        done.append(f"{method} {path.partition('?')[0]}")
        if instructions := data.get("stripe_x402", {}).get("payable_instructions"):
            sandbox.send_usdc(instructions)
        if "checkout_session_id" in data:
            sandbox.pay(data["checkout_session_id"])
        if path.startswith("/v1/credit-purchases/stripe"):
            agent.wait_for_state("succeeded", quote_id=reader.words["QUOTE_ID"])
    assert {"POST /v1/spends", "POST /v1/holds/HOLD_ID/capture", "POST /v1/create", "GET /v1/quota"} <= set(done)
    assert agent.paid_credits() < 1000


def test_a_document_is_drawn_anew_only_when_what_it_says_has_changed():
    request: Any = SimpleNamespace(app=SimpleNamespace(state={}))
    drawn = iter(["first", "second"])
    said = [document.drawn(request, "skill", stands, lambda: next(drawn)) for stands in (1, 1, 2, 2)]
    assert said == ["first", "first", "second", "second"]

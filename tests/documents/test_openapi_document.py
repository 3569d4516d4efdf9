"""What `/openapi.json` says: every operation with its answers and refusals, in bounds that JSON keeps."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from api.documents.recorded import recorded
from api.documents.refused import exit_code
from api.http.operations import operations
from billing.refusals import Refusal
from docs import served
from tests.documents.plain import plain
from tests.documents.shapes import misfit
from tests.refused import ON_CHAIN

SAFE_MAX = 2**53 - 1
OF_ITEMS_AND_LETTERS = {Refusal.GROUP_REFUSED, Refusal.WEBHOOK_SIGNATURE_INVALID, Refusal.METHOD_NOT_ALLOWED}
"""Given to an item of a batch, to a letter, or by a path rather than by an operation."""
ADDRESS_BYTES_MAX = 65_000
"""A little less than what the server reads; it answers a longer one with a 414 that is not ours."""
BYTES_OF_A_LETTER = 12
"""Four bytes of UTF-8, each as %F0."""

DOCUMENT: dict[str, Any] = json.loads((served.FOLDER / "openapi.json").read_text(encoding="utf-8"))
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}


def resolved(value: Any) -> Any:
    if isinstance(value, dict) and "$ref" in value:
        found = DOCUMENT
        for name in value["$ref"].removeprefix("#/").split("/"):
            found = found[name.replace("~1", "/")]
        return resolved(found)
    return value


def everything(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    yield at, value
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from everything(inner, f"{at}/{name}")
    if isinstance(value, list):
        for place, inner in enumerate(value):
            yield from everything(inner, f"{at}/{place}")


def test_every_operation_has_a_name_of_its_own():
    ids = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(ids) == len(set(ids)) > 50


def test_every_operation_was_answered_by_a_real_service_and_shows_it():
    assert set(OPERATIONS) == set(recorded()), "tests/documents/recording.py says how to record"
    for name, operation in OPERATIONS.items():
        success = operation["responses"][str(recorded()[name].statuses[0])]
        assert success["content"]["application/json"]["example"]["ok"] is True
        if "requestBody" in operation and operation["requestBody"]["required"]:
            assert operation["requestBody"]["content"]["application/json"]["example"], name


def test_every_recorded_answer_has_the_shape_that_is_told():
    for name, each in recorded().items():
        assert each.answer is not None
        assert misfit(each.answer["data"], dict(each.data)) is None, name


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_examples_fit_their_schemas(name):
    operation = OPERATIONS[name]
    contents = [resolved(each)["content"]["application/json"] for each in operation["responses"].values()]
    contents += [operation["requestBody"]["content"]["application/json"]] if "requestBody" in operation else []
    for content in contents:
        schema = {"components": DOCUMENT["components"], **content["schema"]}
        examples = [resolved(each)["value"] for each in content.get("examples", {}).values()]
        for example in [*examples, *([content["example"]] if "example" in content else [])]:
            Draft202012Validator(schema).validate(example)


def test_every_schema_is_one():
    schemas = [
        (at, value) for at, value in everything(DOCUMENT) if re.search(r"(/schema|^/components/schemas/\w+)$", at)
    ]
    checked = [at for at, _ in schemas if "/properties/" not in at and "/example" not in at]
    assert len(checked) > 2 * len(OPERATIONS)
    for at, value in schemas:
        if at in checked:
            Draft202012Validator.check_schema(value)


def test_no_bound_is_beyond_what_a_double_keeps_and_no_number_that_is_asked_for_is_without():
    for at, value in everything(DOCUMENT):
        if not isinstance(value, dict) or "example" in at:
            continue
        bounds = [value[name] for name in ("minimum", "maximum") if isinstance(value.get(name), int)]
        assert all(abs(bound) <= SAFE_MAX for bound in bounds), at
        asked = at.startswith("/components/schemas/") or "/parameters/" in at
        if asked and value.get("type") == "integer" and "/Refusal/" not in at:
            assert {"minimum", "maximum"} <= set(value), at


def test_whatever_texts_a_query_may_have_its_address_is_one_that_the_server_reads():
    for name, operation in OPERATIONS.items():
        schemas = [asked["schema"] for asked in operation.get("parameters", []) if asked["in"] == "query"]
        letters = sum(schema.get("maxLength", 0) for schema in schemas)
        assert letters * BYTES_OF_A_LETTER < ADDRESS_BYTES_MAX, name


def test_every_refusal_stands_with_its_status_and_what_follows_from_it():
    app = served.application()[1]
    found = operations(app.routes)
    for operation in found:
        responses = OPERATIONS[operation.name]["responses"]
        for refusal in operation.refusals:
            content = resolved(responses[str(refusal.rule.http_status)])["content"]["application/json"]
            example = resolved(content["examples"][refusal.code])
            assert example["x-exit-code"] == exit_code(refusal.rule)
            assert example["x-retryable"] is refusal.rule.retryable is example["value"]["error"]["retryable"]
            assert example["x-freezes-key"] is refusal.rule.freezes_key
            assert example["value"]["error"]["code"] == refusal.code
    given = {refusal for operation in found for refusal in operation.refusals}
    assert given >= set(Refusal) - OF_ITEMS_AND_LETTERS
    assert set(ON_CHAIN) <= given


def test_no_secret_and_no_address_of_a_test_is_recorded():
    for name, each in recorded().items():
        known = {"parameters": each.parameters, "body": each.body, "answer": each.answer}
        assert plain(known, served.URL) == known, name
        assert not re.search(r"127\.0\.0\.1|isk_r_0|pok_0|whsec_of", json.dumps(known)), name

"""The judge of the tests' answers: what it lets through and what it does not."""

import httpx
import pytest

from billing.refusals import Refusal
from tests.documents.judging import described, fault, operation_of, together
from tests.documents.plain import plain
from tests.documents.shapes import cut, merged, misfit, shape_of

SPEND = next(operation for _, operation in described() if operation.name == "POST /v1/spends")
KNOWN = merged(
    [
        shape_of({"a": 1, "rows": [{"x": None}], "free": {"A b": 1}}),
        shape_of({"a": 1.5, "rows": [{"x": "y"}], "b": True, "free": {}}),
    ]
)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"a": 2, "rows": [], "free": {"c": 1}}, None),
        ({"a": 2, "rows": [{"x": None}], "free": {}, "b": False}, None),
        ({"rows": [], "free": {}}, "data has no a"),
        ({"a": 2, "rows": [], "free": {}, "c": 1}, "data has c, of which the document says nothing"),
        ({"a": "2", "rows": [], "free": {}}, "data.a is string and not number"),
        ({"a": 2, "rows": [{"x": 7}], "free": {}}, "data.rows[].x is integer and not null or string"),
    ],
)
def test_a_value_fits_a_shape_or_is_told_where_it_does_not(value, why):
    assert misfit(value, KNOWN) == why


def test_what_was_only_ever_null_may_be_anything():
    assert misfit({"a": "x"}, shape_of({"a": None})) is None


def test_a_shape_ends_where_nobody_looks():
    deep = cut(shape_of({"a": {"b": {"c": {"d": 1}}}}))
    assert misfit({"a": {"b": {"c": {"other": "x"}}}}, deep) is None
    assert misfit({"a": {"b": {"other": 1}}}, deep) == "data.a.b has no c"


def refusing(refusal):
    return {"ok": False, "error": {"code": refusal.code}}


def test_a_refusal_that_was_not_declared_is_a_fault():
    assert fault(SPEND, 402, refusing(Refusal.QUOTA_EXCEEDED)) is None
    assert "refuses LAST_AGENT" in str(fault(SPEND, 409, refusing(Refusal.LAST_AGENT)))


def test_a_status_that_was_never_seen_is_a_fault():
    assert "is answered 299" in str(fault(SPEND, 299, {"ok": True, "data": {}}))


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/v1/credit-purchases/status?quote_id=x", "GET /v1/credit-purchases/status"),
        ("POST", "/v1/spends/batch", "POST /v1/spends/batch"),
        ("POST", "/v1/tokens/revoke/", "POST /v1/tokens/revoke"),
        ("GET", "/v1/holds/hold_1", "GET /v1/holds/{hold_id}"),
        ("GET", "/metrics", None),
        ("GET", "/v1/spends", None),
    ],
)
def test_an_operation_is_known_by_its_method_and_path(method, path, name):
    found = operation_of(httpx.Request(method, f"http://a{path}"))
    assert (found.name if found else None) == name


def test_an_example_shows_the_most_and_shapes_add_up():
    small = {
        "statuses": [200],
        "data": shape_of({"a": 1}),
        "parameters": {},
        "body": None,
        "answer": {"data": {"a": 1}},
    }
    large = {**small, "statuses": [202], "data": shape_of({"a": None, "b": 1}), "answer": {"data": {"a": None, "b": 1}}}
    assert together(small, large) == together(large, small)
    both = together(small, large)
    assert (both["statuses"], both["answer"]) == ([200, 202], large["answer"])
    assert both["data"]["required"] == ["a"]


def test_what_differs_from_run_to_run_is_struck_out_and_what_was_the_same_stays_the_same():
    token = "isk_r_01m7znp0zsf8yrvk951wz1b8dp" + "A" * 43
    one, other = "quote_01m7znp0zsf8yrvk951wz1b8dp", "quote_01m7znp0fve32sesm9mq2k63cj"
    said = plain(
        {"a": one, "b": f"purchase:{one}", "c": other, "t": token, "u": "http://127.0.0.1:81/x"},
        "http://127.0.0.1:81/v1",
    )
    assert said == {
        "a": "quote_00000000000000000000000001",
        "b": "purchase:quote_00000000000000000000000001",
        "c": "quote_00000000000000000000000002",
        "t": "isk_r_TOKEN",
        "u": "{url}/x",
    }

"""The routes by themselves: the doorway, refusals and views are the real ones, and no database is asked."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from litestar import Litestar
from litestar.datastructures import State

from api.http import envelope
from api.http.doorway import doorway
from api.http.refusal_answers import answered
from api.http.routes import models
from api.price_list import PriceBook
from api.settings import Settings
from tests.service import data_of, error_of

URL = "http://purser.example"
ROWS = {
    "a.away": "image, operations: [create], availability: unavailable",
    "b.listed": "image, operations: [create], availability: catalog_only",
    "c.second": "image, operations: [create, edit], availability: available, aliases: [second], units_max: 4",
    "d.default": "audio, operations: [create], availability: available, description: makes noise",
}
PRICE = 'price: {policy: cost_plus, cost_usd: "0.0125", margin_percent: "25"}'
PARAMETERS = (
    "parameters: {seed: {kind: integer, maximum: 9}, style: {kind: string, choices: [x]}, note: {kind: string}}"
)
FILE = "version: 1\ndefault: d.default\nmodels:\n" + "".join(
    f"  - {{id: {name}, name: Model {name[0]}, provider: {name[0]}, modality: {row}, {PRICE}, {PARAMETERS}}}\n"
    for name, row in ROWS.items()
)


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`ask(path, **query)`: the answer of an application that has these routes only."""
    path: Path = tmp_path_factory.mktemp("prices") / "prices.yaml"
    path.write_text(FILE, encoding="utf-8")
    settings = Settings(public_url=URL)
    house: Any = SimpleNamespace(
        settings=settings,
        outside=SimpleNamespace(prices=PriceBook(path, executor="callout")),
        clock=lambda: datetime(2026, 11, 21, tzinfo=UTC),
        unavailable=lambda _: None,
    )
    app = Litestar(
        route_handlers=models.ROUTES,
        state=State({"house": house}),
        exception_handlers={Exception: answered},
        openapi_config=None,
        logging_config=None,
        response_class=envelope.Answer,
    )
    app.asgi_handler = doorway(app.asgi_handler, house)
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]

    async def send(path: str, query: Any) -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
            return await client.get(path, params=query)

    return lambda path, **query: asyncio.run(send(path, query))


def ids(answer: Any) -> list[str]:
    return [row["id"] for row in data_of(answer)["models"]]


def test_what_can_be_ordered_stands_first_and_the_default_before_all(ask):
    data = data_of(ask("/v1/models"))
    assert [row["id"] for row in data["models"]] == ["d.default", "c.second", "a.away"]
    assert [row["default"] for row in data["models"]] == [True, False, False]
    assert data["summary"] == {
        "total": 4,
        "matched": 3,
        "returned": 3,
        "available": 2,
        "executable": 2,
        "cataloged_not_wired": 1,
        "unavailable": 1,
        "providers": ["a", "b", "c", "d"],
        "default_model_id": "d.default",
        "catalog_only_included": False,
        "price_list_digest": data["summary"]["price_list_digest"],
        "result_shape": "compact_model_summary",
        "full_list_command": f"image-skill models list --details --json --api-base-url {URL}",
    }
    assert len(data["summary"]["price_list_digest"]) == 64
    assert data["next_cursor"] is None


def test_a_row_has_what_both_versions_of_the_client_read(ask):
    row = data_of(ask("/v1/models"))["models"][1]
    pricing = {
        "credit_unit_usd": 0.01,
        "credits_required": 2,
        "estimated_provider_cost_usd": 0.0125,
        "estimated_revenue_usd": 0.02,
        "pricing_confidence": "estimated",
        "policy": "cost_plus",
    }
    assert row["economics"]["credit_pricing"] == pricing
    assert row["economics"]["estimated_usd_per_image"] == row["estimated_usd_per_image"] == 0.0125
    assert row["execution"]["model_execution_status"] == row["model_execution_status"] == "executable"
    assert row["status"] == "available"
    assert row["supports"] == ["create", "edit"]
    assert row["operations"] == ["image.generate", "image.edit"]
    assert row["credits_required"] == 2
    assert row["media"]["output"]["max_outputs_per_request"] == row["max_outputs_per_request"] == 4
    assert row["capability"]["ids"] == ["image.generate.c.second", "image.edit.c.second"]
    assert row["show_command"] == f"image-skill models show c.second --json --api-base-url {URL}"
    assert "model_parameters_schema" not in row


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"available": "true"}, ["d.default", "c.second"]),
        ({"executable": "true"}, ["d.default", "c.second"]),
        ({"available": "true", "executable": "true", "modality": "audio"}, ["d.default"]),
        ({"available": "false", "catalog_only": "false"}, ["d.default", "c.second", "a.away"]),
        ({"catalog_only": "true"}, ["b.listed"]),
        ({"catalog_only": "true", "provider": "a"}, []),
        ({"operation": "create"}, ["d.default", "c.second", "a.away"]),
        ({"operation": "Image.Generate"}, ["c.second", "a.away"]),
        ({"operation": "edit"}, ["c.second"]),
        ({"operation": "sing"}, []),
        ({"modality": "IMAGE"}, ["c.second", "a.away"]),
        ({"provider": "d"}, ["d.default"]),
        ({"query": "SECOND"}, ["c.second"]),
        ({"query": "default model"}, ["d.default"]),
        ({"query": "noise"}, ["d.default"]),
        ({"query": "second noise"}, []),
        ({"query": "%"}, []),
        ({"unknown": "x", "provider": "c"}, ["c.second"]),
    ],
)
def test_filters_keep_what_has_all_that_is_asked_for(ask, query, found):
    answer = ask("/v1/models", **query)
    assert ids(answer) == found
    summary = data_of(answer)["summary"]
    assert (summary["matched"], summary["returned"], summary["total"]) == (len(found), len(found), 4)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"available": "yes"}, "available must be true or false"),
        ({"available": "True"}, "available must be true or false"),
        ({"executable": "1"}, "executable must be true or false"),
        ({"catalog_only": ""}, "catalog_only must be true or false"),
        ({"details": "TRUE"}, "details must be true or false"),
        ({"catalog_only": "true", "available": "true"}, "catalog_only cannot be combined"),
        ({"catalog_only": "true", "executable": "true"}, "catalog_only cannot be combined"),
        ({"limit": "0"}, "limit must be a whole number from 1 to 200"),
        ({"limit": "201"}, "limit must be a whole number from 1 to 200"),
        ({"limit": "1.5"}, "limit must be a whole number from 1 to 200"),
        ({"cursor": "nobody"}, "cursor must be the next_cursor of an earlier answer"),
        ({"query": " "}, "query must have 1 to 255 characters"),
        ({"modality": "a\x00"}, "modality must be text"),
        ({"provider": ["a", "b"]}, "provider may be given once"),
    ],
)
def test_a_query_that_is_not_understood_is_refused_by_name(ask, query, said):
    answer = ask("/v1/models", **query)
    assert error_of(answer, 400, "INVALID_ARGUMENTS")["message"].startswith(said)
    assert answer.headers["x-image-skill-exit-code"] == "2"


@pytest.mark.parametrize(("path", "name", "most"), [("models", "models", 3), ("capabilities", "capabilities", 5)])
def test_pages_put_together_are_the_whole_list(ask, path, name, most):
    whole = [row["id"] for row in data_of(ask(f"/v1/{path}"))[name]]
    assert len(whole) == most
    for limit in range(1, most + 1):
        found: list[str] = []
        query: dict[str, Any] = {"limit": str(limit)}
        while True:
            data = data_of(ask(f"/v1/{path}", **query))
            assert data["summary"]["returned"] == len(data[name]) <= limit
            found += [row["id"] for row in data[name]]
            if data["next_cursor"] is None:
                break
            query["cursor"] = data["next_cursor"]
        assert found == whole


def test_a_page_goes_on_after_a_model_that_no_longer_matches(ask):
    assert ids(ask("/v1/models", cursor="d.default", modality="image")) == ["c.second", "a.away"]


def test_details_say_what_parameters_may_be(ask):
    data = data_of(ask("/v1/models", details="true"))
    assert data["summary"]["result_shape"] == "full_model_schema"
    assert data["models"][0]["model_parameters_schema"] == {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "seed": {"type": "integer", "maximum": 9},
            "style": {"type": "string", "enum": ["x"]},
            "note": {"type": "string", "maxLength": 2000},
        },
    }


@pytest.mark.parametrize(
    ("name", "found"), [("c.second", "c.second"), ("second", "c.second"), ("default", "d.default")]
)
def test_a_model_is_shown_by_its_id_an_alias_or_as_the_default(ask, name, found):
    answer = ask(f"/v1/models/{name}")
    assert answer.json()["command"] == "image-skill models show"
    model = data_of(answer)["model"]
    assert model["id"] == found
    assert model["model_parameters_schema"]["properties"]["seed"] == {"type": "integer", "maximum": 9}


@pytest.mark.parametrize("name", ["c.secon", "nobody", "%00", "c.second%20", "%F0%9F%8E%A8", "x" * 5000])
def test_an_unknown_model_is_not_found_with_commands_that_help(ask, name):
    error = error_of(ask(f"/v1/models/{name}"), 404, "NOT_FOUND")
    commands = error["recovery"]["suggested_commands"]
    assert commands[-1] == f"image-skill models list --json --api-base-url {URL}"
    assert error["recovery"]["suggested_command"] == commands[0]
    if name == "c.secon":
        assert commands[0] == f"image-skill models show c.second --json --api-base-url {URL}"
    if name == "nobody":
        assert len(commands) == 1


def test_capabilities_are_the_operations_of_models(ask):
    data = data_of(ask("/v1/capabilities"))
    assert [row["id"] for row in data["capabilities"]] == [
        "audio.generate.d.default",
        "image.generate.c.second",
        "image.edit.c.second",
        "image.generate.a.away",
        "image.generate.b.listed",
    ]
    assert [row["endpoint"] for row in data["capabilities"]] == ["/v1/create", "/v1/create", None, None, None]
    assert (data["summary"]["total"], data["summary"]["executable"]) == (5, 3)


def test_a_capability_is_shown_with_what_it_takes_and_costs(ask):
    found = data_of(ask("/v1/capabilities/image.generate.c.second"))["capability"]
    assert (found["model_id"], found["operation"], found["task"]) == ("c.second", "create", "image.generate")
    assert found["economics"]["credit_pricing"]["credits_required"] == found["credits_required"] == 2
    assert found["model_parameters_schema"]["additionalProperties"] is False


def test_an_unknown_capability_is_not_found_with_commands_that_help(ask):
    error = error_of(ask("/v1/capabilities/image.generate.c.secnd"), 404, "NOT_FOUND")
    assert error["recovery"]["suggested_commands"][0].startswith(
        "image-skill capabilities show image.generate.c.second "
    )

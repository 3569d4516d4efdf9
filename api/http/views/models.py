"""What can be bought with credits, in the public client's shapes. Pure.

Dollars are JSON numbers here, because the client counts with them; they are made of whole numbers in the last step.
Source: section 3.6 and 5 of the client's contract, and `modelSummaryRow` of both versions. A row has what both read:
the nested fields for 0.1.30, and the flat ones of the newer client's compact list, so that it need not make its own.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from billing.packs import CREDIT_PRICE_CENTS
from billing.pricing import PARAMETER_LENGTH_MAX, Availability, Model, Parameter, Policy, PriceList

MICRO: Final = 1_000_000
CENTS: Final = 100
CREDIT_UNIT_USD: Final = CREDIT_PRICE_CENTS / CENTS
COMPACT: Final = "compact_model_summary"
FULL: Final = "full_model_schema"
CLOSE_MAX: Final = 3
CLOSE_LENGTH_MAX: Final = 128
CREATE: Final = "create"
EXECUTION: Final = {
    Availability.AVAILABLE: "executable",
    Availability.UNAVAILABLE: "unavailable",
    Availability.CATALOG_ONLY: "cataloged_not_wired",
}
"""The client's words for whether something can be ordered now."""
_REASONS: Final = {
    Availability.AVAILABLE: None,
    Availability.UNAVAILABLE: "unavailable_for_now",
    Availability.CATALOG_ONLY: "cataloged_not_wired",
}
_ORDER: Final = list(EXECUTION)


def command(url: str, *words: str) -> str:
    """A command of the public client to the service at `url`."""
    return shlex.join(["image-skill", *words, "--json", "--api-base-url", url])


def in_order(prices: PriceList) -> list[Model]:
    """All models as lists have them: what can be ordered first, and of that the default, else as in the file."""
    return sorted(prices.models, key=lambda each: (_ORDER.index(each.availability), each.id != prices.default_id))


def matches(
    model: Model, *, operation: str | None, modality: str | None, provider: str | None, query: str | None
) -> bool:
    """Whether a model has what is asked for. Each word of a query stands in its id, name, description or aliases."""
    if operation is not None and operation.lower() not in {*model.operations, *_tasks(model)}:
        return False
    if modality is not None and modality.lower() != model.modality:
        return False
    if provider is not None and provider.lower() != model.provider:
        return False
    searched = " ".join([model.id, model.name, model.description, *model.aliases]).casefold()
    return query is None or all(word in searched for word in query.casefold().split())


def row(model: Model, prices: PriceList, *, url: str, details: bool) -> dict[str, Any]:
    """One model. With details, also what `model_parameters` may hold, as JSON Schema."""
    pricing = credit_pricing(model)
    cost = pricing["estimated_provider_cost_usd"]
    status = EXECUTION[model.availability]
    found = {
        "id": model.id,
        "default": model.id == prices.default_id,
        "display_name": model.name,
        "description": model.description,
        "provider_id": model.provider,
        "aliases": list(model.aliases),
        "status": model.availability.value,
        "availability_reason": _REASONS[model.availability],
        "modality": model.modality,
        "supports": list(model.operations),
        "operations": _tasks(model),
        "task_tags": _tags(model),
        "estimated_usd_per_image": cost,
        "credits_required": pricing["credits_required"],
        "pricing_confidence": pricing["pricing_confidence"],
        "cost_known": cost is not None,
        "budget_required_for_live": False,
        "max_outputs_per_request": model.units_max,
        "max_resolution": None,
        "artifact_storage": None,
        "model_execution_status": status,
        "grants_required": [],
        "show_command": command(url, "models", "show", model.id),
        "execution": {
            "model_execution_status": status,
            "artifact_storage": None,
            "deadline_seconds": int(model.deadline.total_seconds()),
        },
        "economics": {
            "cost_known": cost is not None,
            "budget_required_for_live": False,
            "estimated_usd_per_image": cost,
            "credit_pricing": pricing,
        },
        "capability": {"ids": [model.capability(each) for each in model.operations], "grants_required": []},
        "media": {"output": {"max_outputs_per_request": model.units_max, "max_resolution": None}},
    }
    return found | ({"model_parameters_schema": parameters_schema(model)} if details else {})


def credit_pricing(model: Model) -> dict[str, Any]:
    """What one unit costs in credits, what that is in dollars, and what the provider is expected to take for it."""
    credits_required, cost = model.price.credits_for(1), model.price.cost_of(1)
    return {
        "credit_unit_usd": CREDIT_UNIT_USD,
        "credits_required": credits_required,
        "estimated_provider_cost_usd": None if cost is None else cost / MICRO,
        "estimated_revenue_usd": credits_required * CREDIT_PRICE_CENTS / CENTS,
        "pricing_confidence": "estimated" if model.price.policy is Policy.COST_PLUS else "known",
        "policy": model.price.policy.value,
    }


def parameters_schema(model: Model) -> dict[str, Any]:
    """`model_parameters` as JSON Schema."""
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: _parameter_schema(each) for name, each in model.parameters.items()},
    }


def _parameter_schema(parameter: Parameter) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": parameter.kind}
    if parameter.choices:
        return schema | {"enum": list(parameter.choices)}
    if parameter.kind == "string":
        schema["maxLength"] = PARAMETER_LENGTH_MAX
    bounds = {"minimum": parameter.minimum, "maximum": parameter.maximum}
    return schema | {name: bound for name, bound in bounds.items() if bound is not None}


def _tasks(model: Model) -> list[str]:
    return [model.task(operation) for operation in model.operations]


def _tags(model: Model) -> list[str]:
    """Words to choose by, in the newer client's spelling."""
    tags = [*model.operations, *(task.partition(".")[2] for task in _tasks(model)), model.modality]
    tags += [f"text-to-{model.modality}"] * (CREATE in model.operations)
    tags += ["multi-output"] * (model.units_max > 1)
    return list(dict.fromkeys(tags))


def listed(
    prices: PriceList, matched: Sequence[Model], page: Sequence[Model], *, url: str, details: bool, catalog_only: bool
) -> dict[str, Any]:
    """A page of the models that matched. The summary counts the whole catalog, but for `matched` and `returned`."""
    counted = [model.availability for model in prices.models]
    summary = {
        "total": len(counted),
        "matched": len(matched),
        "returned": len(page),
        "available": counted.count(Availability.AVAILABLE),
        "executable": counted.count(Availability.AVAILABLE),
        "cataloged_not_wired": counted.count(Availability.CATALOG_ONLY),
        "unavailable": counted.count(Availability.UNAVAILABLE),
        "providers": sorted({model.provider for model in prices.models}),
        "default_model_id": prices.default_id,
        "catalog_only_included": catalog_only,
        "price_list_digest": prices.digest,
        "result_shape": FULL if details else COMPACT,
        "full_list_command": command(url, "models", "list", "--details"),
    }
    return {
        "models": [row(model, prices, url=url, details=details) for model in page],
        "summary": summary,
        "recommended_commands": list_commands(prices, url=url),
        "next_cursor": page[-1].id if page and page[-1] is not matched[-1] else None,
    }


def list_commands(prices: PriceList, *, url: str) -> list[str]:
    """How to find a model."""
    task = _tasks(in_order(prices)[0])[0]
    return [
        command(url, "models", "list", "--available", "--operation", task),
        command(url, "models", "list", "--catalog-only"),
        command(url, "models", "show", "default"),
    ]


def shown(model: Model, prices: PriceList, *, url: str) -> dict[str, Any]:
    """One model with all that is known of it."""
    return {"model": row(model, prices, url=url, details=True), "price_list_digest": prices.digest}


@dataclass(frozen=True, slots=True)
class Capability:
    """One operation by one model."""

    id: str
    model: Model
    operation: str


def capabilities(prices: PriceList) -> list[Capability]:
    """Every operation of every model, in the order of the models; what is only in the catalog too."""
    return [
        Capability(model.capability(operation), model, operation)
        for model in in_order(prices)
        for operation in model.operations
    ]


def capability_row(capability: Capability, *, url: str) -> dict[str, Any]:
    """One capability in short. `endpoint` is where it is ordered; none when nothing takes such orders."""
    model = capability.model
    return {
        "id": capability.id,
        "operation": capability.operation,
        "task": model.task(capability.operation),
        "modality": model.modality,
        "model_id": model.id,
        "provider_id": model.provider,
        "status": model.availability.value,
        "availability_reason": _REASONS[model.availability],
        "model_execution_status": EXECUTION[model.availability],
        "credits_required": model.price.credits_for(1),
        "endpoint": "/v1/create" if capability.operation == CREATE and model.executable else None,
        "show_command": command(url, "capabilities", "show", capability.id),
    }


def capabilities_listed(
    prices: PriceList, every: Sequence[Capability], page: Sequence[Capability], *, url: str
) -> dict[str, Any]:
    """A page of all capabilities."""
    return {
        "capabilities": [capability_row(each, url=url) for each in page],
        "summary": {
            "total": len(every),
            "returned": len(page),
            "executable": sum(each.model.executable for each in every),
            "price_list_digest": prices.digest,
        },
        "next_cursor": page[-1].id if page and page[-1] != every[-1] else None,
    }


def capability_shown(capability: Capability, *, url: str) -> dict[str, Any]:
    """One capability with what it takes and costs."""
    model = capability.model
    found = capability_row(capability, url=url) | {
        "economics": {"credit_pricing": credit_pricing(model)},
        "deadline_seconds": int(model.deadline.total_seconds()),
        "max_outputs_per_request": model.units_max,
        "model_parameters_schema": parameters_schema(model),
        "model_show_command": command(url, "models", "show", model.id),
    }
    return {"capability": found}


def not_found(asked: str, known: Sequence[str], *, url: str, noun: str) -> dict[str, Any]:
    """The `recovery` for a name that nothing has: what is spelled almost so, and the list. `noun` is the client's."""
    close = get_close_matches(asked[:CLOSE_LENGTH_MAX].lower(), known, n=CLOSE_MAX)
    commands = [*(command(url, noun, "show", name) for name in close), command(url, noun, "list")]
    return {"suggested_command": commands[0], "suggested_commands": commands}

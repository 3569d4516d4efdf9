"""What can be bought with credits: models, and what each of them can do. Anybody may look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from litestar import get
from litestar.params import FromPath

from api.http.context import AnyRequest, house_of
from api.http.envelope import Envelope, answer
from api.http.fields_models import CapabilitiesAsked, ModelsAsked
from api.http.reading import query_of
from api.http.routes.describe import described
from api.http.views import models
from billing.pricing import Availability, Model
from billing.refusals import Refusal, Refused


@get("/v1/models", opt=described("models list", query=ModelsAsked))
async def list_models(request: AnyRequest) -> Envelope:
    """What can be ordered, then what cannot for the time being; what is only in the catalog when asked for it."""
    asked, house = query_of(request, ModelsAsked), house_of(request)
    prices = house.outside.prices.current()
    every = models.in_order(prices)
    matched = [model for model in every if _is_wanted(model, asked)]
    following = set(_after([model.id for model in every], asked.cursor))
    page = [model for model in matched if model.id in following][: asked.limit]
    found = models.listed(
        prices,
        matched,
        page,
        url=house.settings.url,
        details=asked.details,
        catalog_only=asked.catalog_only,
    )
    return answer(request, found)


@get("/v1/models/{model_id:str}", opt=described("models show"))
async def show_model(request: AnyRequest, model_id: FromPath[str]) -> Envelope:
    """The model with this id or alias; `default` is what an order gets that names none."""
    house = house_of(request)
    prices, url = house.outside.prices.current(), house.settings.url
    model = prices.find(model_id)
    if model is None:
        known = [name for each in prices.models for name in (each.id, *each.aliases)]
        recovery = models.not_found(model_id, known, url=url, noun="models")
        raise Refused(Refusal.NOT_FOUND, "no model has that id or alias", recovery=recovery)
    return answer(request, models.shown(model, prices, url=url))


@get("/v1/capabilities", opt=described("capabilities list", query=CapabilitiesAsked))
async def list_capabilities(request: AnyRequest) -> Envelope:
    """Every operation of every model."""
    asked, house = query_of(request, CapabilitiesAsked), house_of(request)
    prices = house.outside.prices.current()
    every = models.capabilities(prices)
    following = set(_after([each.id for each in every], asked.cursor))
    page = [each for each in every if each.id in following][: asked.limit]
    return answer(request, models.capabilities_listed(prices, every, page, url=house.settings.url))


@get("/v1/capabilities/{capability_id:str}", opt=described("capabilities show"))
async def show_capability(request: AnyRequest, capability_id: FromPath[str]) -> Envelope:
    """One operation of one model, with what it takes and costs."""
    house = house_of(request)
    url, every = house.settings.url, models.capabilities(house.outside.prices.current())
    found = next((each for each in every if each.id == capability_id), None)
    if found is None:
        recovery = models.not_found(capability_id, [each.id for each in every], url=url, noun="capabilities")
        raise Refused(Refusal.NOT_FOUND, "no capability has that id", recovery=recovery)
    return answer(request, models.capability_shown(found, url=url))


def _is_wanted(model: Model, asked: ModelsAsked) -> bool:
    if (model.availability is Availability.CATALOG_ONLY) != asked.catalog_only:
        return False
    if (asked.available or asked.executable) and not model.executable:
        return False
    return models.matches(
        model, operation=asked.operation, modality=asked.modality, provider=asked.provider, query=asked.query
    )


def _after(ids: Sequence[str], cursor: str | None) -> Sequence[str]:
    """What comes after a page that ended with `cursor`. Raises `Refused(INVALID_ARGUMENTS)`."""
    if cursor is None:
        return ids
    if cursor not in ids:
        raise Refused(Refusal.INVALID_ARGUMENTS, "cursor must be the next_cursor of an earlier answer")
    return ids[ids.index(cursor) + 1 :]


ROUTES: Final[list[Any]] = [list_models, show_model, list_capabilities, show_capability]

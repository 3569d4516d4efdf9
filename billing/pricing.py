"""What an operation costs in credits, before it is done and after. Pure; every rounding is up, to a whole credit.

A unit is what the operation makes several of: a picture, a second of sound. Provider costs are in millionths of a
dollar, because a provider's price for one unit is often below a cent.
"""

from __future__ import annotations

import enum
import math
import numbers
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

MICRO_USD_PER_CREDIT: Final = 10_000
"""A credit is sold for a cent."""
BASIS_POINTS: Final = 10_000
JOB_CREDITS_MAX: Final = 100_000_000
"""More than this no single job may cost."""
PARAMETER_LENGTH_MAX: Final = 2000
PARAMETER_NUMBER_MAX: Final = 2**53 - 1
"""The largest number that every JSON reader keeps exactly."""
DRAFTS: Final = frozenset({"budget", "cheap", "draft", "test"})
"""Intents that want the cheapest. Source: the public client, which sorts them the same way."""
_UNSTORABLE: Final = frozenset({"Cc", "Cs"})
"""Control characters (PostgreSQL refuses NUL) and halves of surrogate pairs, which no encoding has."""


class Policy(enum.StrEnum):
    """How a price is made."""

    FIXED = "fixed"
    """So many credits for the whole job."""
    PER_UNIT = "per_unit"
    """So many credits for each unit."""
    COST_PLUS = "cost_plus"
    """What the provider takes, and a margin on it."""


@dataclass(frozen=True, slots=True)
class Price:
    """A price. `cost_micro_usd` is what the provider takes for a unit: an estimate, and none when it is not known.

    `credits` is of a job (fixed) or a unit (per unit); `margin_basis_points` belongs to cost plus.
    """

    policy: Policy
    credits: int = 0
    cost_micro_usd: int | None = None
    margin_basis_points: int = 0

    def __post_init__(self) -> None:
        if self.policy is Policy.COST_PLUS and self.cost_micro_usd is None:
            raise ValueError("cost_plus needs the provider's cost")
        if self.policy is not Policy.COST_PLUS and not 0 < self.credits <= JOB_CREDITS_MAX:
            raise ValueError("a price is one credit or more")
        if (self.cost_micro_usd or 0) < 0 or self.margin_basis_points < 0:
            raise ValueError("costs and margins are never negative")

    def credits_for(self, units: int, cost_micro_usd: int | None = None) -> int:
        """The credits for `units`. `cost_micro_usd` is what the provider took for all of them, when it is known."""
        match self.policy:
            case Policy.FIXED:
                return self.credits
            case Policy.PER_UNIT:
                return self.credits * units
            case Policy.COST_PLUS:
                cost = cost_micro_usd if cost_micro_usd is not None else (self.cost_micro_usd or 0) * units
                parts = cost * (BASIS_POINTS + self.margin_basis_points)
                return max(1, -(-parts // (BASIS_POINTS * MICRO_USD_PER_CREDIT)))

    def cost_of(self, units: int) -> int | None:
        """What the provider is expected to take for `units`, in millionths of a dollar; none when nobody knows."""
        return None if self.cost_micro_usd is None else self.cost_micro_usd * units

    def stored(self) -> dict[str, Any]:
        """The price as JSON; `price_of` reads it back."""
        return {
            "policy": self.policy.value,
            "credits": self.credits,
            "cost_micro_usd": self.cost_micro_usd,
            "margin_basis_points": self.margin_basis_points,
        }


def price_of(stored: Mapping[str, Any]) -> Price:
    """The price that `Price.stored` made the JSON of."""
    return Price(Policy(stored["policy"]), stored["credits"], stored["cost_micro_usd"], stored["margin_basis_points"])


class Availability(enum.StrEnum):
    """Whether an operation can be bought now."""

    AVAILABLE = "available"
    UNAVAILABLE = "unavailable"
    """Not for the time being."""
    CATALOG_ONLY = "catalog_only"
    """It is listed, and nothing here carries it out."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One field of `model_parameters`. `kind` is `string`, `integer`, `number` or `boolean`; bounds are inclusive."""

    kind: str
    choices: tuple[Any, ...] = ()
    minimum: int | None = None
    maximum: int | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """One thing that can be bought with credits. `operations` are what it is for, as in `create`."""

    id: str
    name: str
    provider: str
    modality: str
    operations: tuple[str, ...]
    availability: Availability
    price: Price
    deadline: timedelta
    """How long its executor may take, from the order on."""
    units_max: int = 1
    description: str = ""
    aliases: tuple[str, ...] = ()
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

    @property
    def executable(self) -> bool:
        """Whether it can be ordered now."""
        return self.availability is Availability.AVAILABLE

    def task(self, operation: str) -> str:
        """The operation in the public client's longer words, which name what is made: `image.generate`."""
        return f"{self.modality}.{'generate' if operation == 'create' else operation}"

    def capability(self, operation: str) -> str:
        """The id of this operation by this model."""
        return f"{self.task(operation)}.{self.id}"


@dataclass(frozen=True, slots=True)
class PriceList:
    """The catalog. `digest` is that of the file it was read from, in hex; the first model of an operation suggests."""

    models: Sequence[Model]
    default_id: str
    digest: str

    def find(self, name: str) -> Model | None:
        """The model with this id or alias; `default` is the default one."""
        wanted = self.default_id if name == "default" else name
        return next((model for model in self.models if wanted == model.id or wanted in model.aliases), None)

    def without_executor(self) -> PriceList:
        """The same where nothing can be ordered: what is available is listed only."""
        listed = Availability.CATALOG_ONLY
        return replace(
            self,
            models=[replace(each, availability=listed) if each.executable else each for each in self.models],
        )


class NoSuchModel(LookupError):
    """No model is called so, or none is of that provider. The message is for the agent."""


class NotExecutable(Exception):
    """What was asked for is known and cannot be ordered now. The message is for the agent."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The model that carries an order out; `policy` names the rule that chose it, `reason` is a sentence."""

    model: Model
    policy: str
    reason: str


def choose(
    prices: PriceList, *, operation: str, model: str | None, provider: str | None, intent: str | None = None
) -> Selection:
    """The model for an order: the one that is named, else the cheapest for a draft, else the default or the first.

    `model` may be an id, an alias or `default`. Raises `NoSuchModel` and `NotExecutable`.
    """
    if provider is not None and all(each.provider != provider for each in prices.models):
        raise NoSuchModel("provider names none that this service lists")
    if model is not None:
        found = _named(prices, model, operation, provider)
        return Selection(found, "requested_model", f"{found.id} is what the request names")
    offered = [
        each for each in prices.models if _why_not(each, operation) is None and provider in {None, each.provider}
    ]
    if not offered:
        raise NotExecutable("no model that was asked for can do that now")
    if intent is not None and intent.strip().lower() in DRAFTS:
        found = min(offered, key=lambda each: each.price.credits_for(1))
        return Selection(found, "cheapest_for_draft", f"{found.id} costs least, which the intent asks for")
    found = next((each for each in offered if each.id == prices.default_id), offered[0])
    if found.id == prices.default_id:
        return Selection(found, "default_model", f"{found.id} is the default of this service")
    return Selection(found, "first_executable_model", f"{found.id} is the first that can do it")


def _named(prices: PriceList, name: str, operation: str, provider: str | None) -> Model:
    found = prices.find(name)
    if found is None:
        raise NoSuchModel("model must be the id or an alias of a listed model, or default")
    if provider not in {None, found.provider}:
        raise NoSuchModel(f"{found.id} is of the provider {found.provider}, and the request names another one")
    why_not = _why_not(found, operation)
    if why_not is not None:
        raise NotExecutable(why_not)
    return found


def _why_not(model: Model, operation: str) -> str | None:
    """Why a model cannot be ordered for an operation now; none when it can."""
    if operation not in model.operations:
        return f"{model.id} is for {', '.join(model.operations)} and for nothing else"
    match model.availability:
        case Availability.AVAILABLE:
            return None
        case Availability.UNAVAILABLE:
            return f"{model.id} is not available for the time being"
        case Availability.CATALOG_ONLY:
            return f"{model.id} is listed only: nothing here carries it out"


def checked_parameters(model: Model, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """`model_parameters` of a request as they are, when the model takes all of them.

    Raises `ValueError`; the message begins with the field and repeats nothing that was sent.
    """
    if not all(name in model.parameters for name in given):
        takes = f"only {', '.join(model.parameters)}" if model.parameters else "none"
        raise ValueError(f"model_parameters has a field that {model.id} does not take; it takes {takes}")
    for name, value in given.items():
        fault = parameter_fault(model.parameters[name], value)
        if fault is not None:
            raise ValueError(f"model_parameters.{name} must be {fault}")
    return dict(given)


def parameter_fault(parameter: Parameter, value: Any) -> str | None:
    """What a value of `model_parameters` must be and is not; none when it is."""
    least = parameter.minimum if parameter.minimum is not None else -PARAMETER_NUMBER_MAX
    most = parameter.maximum if parameter.maximum is not None else PARAMETER_NUMBER_MAX
    # `type`, because True is an int to Python, and 1 is in a tuple that holds True or 1.0.
    match parameter.kind:
        case "boolean":
            fits, words = type(value) is bool, "true or false"
        case "string":
            fits, words = (
                _is_text(value),
                f"text of at most {PARAMETER_LENGTH_MAX} characters without control characters",
            )
        case "integer":
            fits, words = type(value) is int and least <= value <= most, f"a whole number from {least} to {most}"
        case _:
            fits, words = _is_number(value) and least <= value <= most, f"a number from {least} to {most}"
    if parameter.choices:
        return None if fits and value in parameter.choices else f"one of {', '.join(map(str, parameter.choices))}"
    return None if fits else words


def _is_text(value: Any) -> bool:
    return (
        isinstance(value, str)
        and len(value) <= PARAMETER_LENGTH_MAX
        and all(unicodedata.category(letter) not in _UNSTORABLE for letter in value)
    )


def _is_number(value: Any) -> bool:
    """A JSON number; one that is too large for a double has become infinite, which JSON does not have."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)

"""What a document says of this service. Pure; `api/http/routes/document.py` fills it from the house."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from api.documents.operations import Operation
from billing.packs import METHODS, Method, NativeTerms, Offer, Pack
from billing.pricing import PriceList


@dataclass(frozen=True, slots=True)
class Limits:
    """How much and how often. Each rate is of a minute."""

    body_bytes: int
    signups: int
    payments: int
    requests: int
    refusals: int
    jobs_per_day: int | None


@dataclass(frozen=True, slots=True)
class Particulars:
    """One service: where it is, what it sells and takes, and what can be asked of it."""

    url: str
    version: str
    offer: Offer
    reasons: Mapping[str, str | None]
    """For each method why it is not offered now; none when it is."""
    live_money: frozenset[str]
    """The methods on which money is real."""
    native: NativeTerms | None
    prices: PriceList
    limits: Limits
    operations: Sequence[Operation]

    def serves(self, name: str) -> bool:
        """Whether there is such an operation, as in `POST /v1/spends`."""
        return any(operation.name == name for operation in self.operations)

    @property
    def offered(self) -> list[Method]:
        """The methods that can be used now."""
        return [method for method in METHODS.values() if self.reasons[method.method_id] is None]

    def is_offered(self, method: Method) -> bool:
        """Whether it can be used now."""
        return self.reasons[method.method_id] is None

    @property
    def cheapest(self) -> Pack:
        """The pack that costs least."""
        return min(self.offer.packs, key=lambda pack: pack.price_cents)

    @property
    def for_agents(self) -> Iterable[Operation]:
        """What agents may ask, and everybody."""
        return [each for each in self.operations if each.agents or not each.operators]

"""x402 as a rail: what an attempt asks a wallet for.

Why nothing here does I/O
-------------------------
With the other rails a provider makes an object that can be paid, found again and closed. Here the wallet pays us:
nobody else has to know what we ask for, so the request *is* the object, and every question about it is answered from
its own stored text. What comes of a signed payment is not asked of this object either: `billing.settling` claims it,
has it carried out and asks the chain.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from rails.evm.networks import Network
from rails.rail import ActionExpired, Fact, Found, Order, ProviderRequest, Reference, X402Action
from rails.x402 import messages
from rails.x402.terms import METHOD_ID, VERSION

API_VERSION: Final = f"x402/{VERSION}"


class X402:
    """A wallet signs a transfer of the exact amount. Keeps what `rails.rail.Rail` promises.

    `pay_to` receives the token; a signature may be good for `timeout_s`. `livemode` says whether the network's money
    is worth anything.
    """

    def __init__(
        self, network: Network, *, pay_to: str, timeout_s: int, livemode: bool, clock: Callable[[], datetime]
    ) -> None:
        self._network = network
        self._pay_to = pay_to
        self._timeout_s = timeout_s
        self._livemode = livemode
        self._clock = clock

    @property
    def method_id(self) -> str:
        """The public id, `x402.exact.usdc`."""
        return METHOD_ID

    def prepare(self, order: Order, /) -> ProviderRequest:
        """The requirement for `order`, under `x402:{attempt}:{number}`. Pure.

        The parameters are an entry of `accepts`, which `messages.requirement_of` reads; our own two stand before it.
        """
        requirement = messages.requirement_for(
            self._network, pay_to=self._pay_to, price=order.price, timeout_s=self._timeout_s
        )
        object_id = f"{order.attempt_id}:{order.number}"
        parameters = {
            "object_id": object_id,
            "payable_until": order.payable_until.astimezone(UTC).isoformat(),
            **requirement.wire(),
        }
        return ProviderRequest(_provider_key(object_id), messages.compact(parameters), API_VERSION)

    async def start(self, request: ProviderRequest, /) -> X402Action:
        """The action that the stored request is; nothing is sent."""
        return _action(request)

    async def find(self, request: ProviderRequest, /, *, since: datetime, until: datetime) -> Found:
        """The same action: it exists since it was stored, so the window does not matter and it is always found."""
        del since, until
        action = _action(request)
        return Found(action.object_id, action)

    def references(self, event: Mapping[str, Any], /) -> Sequence[Reference]:
        """None: no provider sends letters about this rail."""
        del event
        return ()

    async def read(self, reference: Reference, /) -> Sequence[Fact]:
        """Nothing: there is no provider whose word it would be."""
        del reference
        return ()

    async def look(self, object_id: str, /) -> Sequence[Fact]:
        """Nothing: whether it was paid is asked of the chain, by `billing.settling`."""
        del object_id
        return ()

    async def close(self, object_id: str, /) -> Sequence[Fact]:
        """That the attempt is asked for no more. Nobody can take back what a wallet has signed, only not use it."""
        return (
            ActionExpired(
                method_id=METHOD_ID,
                attempt_id=object_id.rpartition(":")[0],
                provider_key=_provider_key(object_id),
                object_id=object_id,
                livemode=self._livemode,
                occurred_at=self._clock(),
            ),
        )

    async def probe(self) -> None:
        """Nothing to ask here: whether the chain or the facilitator serves is asked of them."""


def _provider_key(object_id: str) -> str:
    return f"x402:{object_id}"


def _action(request: ProviderRequest) -> X402Action:
    parameters = json.loads(request.parameters)
    return X402Action(
        object_id=parameters["object_id"],
        requirement=messages.requirement_from(parameters).wire(),
        expires_at=datetime.fromisoformat(parameters["payable_until"]),
    )

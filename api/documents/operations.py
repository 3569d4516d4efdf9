"""A request that the service takes, as its route declares it. Pure. `api/http/operations.py` makes them."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel

from billing.refusals import Refusal


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. Neither agents nor operators: whoever asks is served, token or not."""

    method: str
    path: str
    operation_id: str
    command: str
    text: str
    """What its docstring promises."""
    agents: bool
    operators: bool
    path_parameters: tuple[str, ...]
    body: type[BaseModel] | None
    query: type[BaseModel] | None
    refusals: tuple[Refusal, ...]
    """Everything that it may refuse, in order of precedence."""

    @property
    def name(self) -> str:
        """As in `POST /v1/spends`."""
        return f"{self.method} {self.path}"

    @property
    def takes_token(self) -> bool:
        """Whether it serves everybody, and who shows a token in another way."""
        return not self.agents and not self.operators and Refusal.AUTH_REQUIRED in self.refusals

    @property
    def needs(self) -> str:
        """What must be shown, in words."""
        if self.takes_token:
            return "nothing, or a token"
        if self.agents:
            return "token or operator key" if self.operators else "token"
        return "operator key" if self.operators else "nothing"

    @property
    def summary(self) -> str:
        """The first sentence of the docstring."""
        first = " ".join(self.text.split("\n\n")[0].split())
        return first.split(". ")[0].rstrip(".") + "."

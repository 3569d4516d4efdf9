"""An agent of the demo: a program that has a token and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from api.demo.telling import Failed

Json = dict[str, Any]


@dataclass
class Agent:
    """The agent: a program with a token and nothing else."""

    http: httpx.Client

    def get(self, path: str, **query: str) -> Json:
        """The `data` of an answer. Raises `Failed` for a refusal."""
        return self.data(self.http.get(path, params=query))

    def post(self, path: str, body: Json) -> Json:
        """The same for a POST."""
        return self.data(self.http.post(path, json=body))

    @staticmethod
    def data(answer: httpx.Response) -> Json:
        """The `data` of an answer. Raises `Failed` for a refusal."""
        body = answer.json()
        if not body["ok"]:
            raise Failed(f"{answer.request.url.path} refused: {body['error']['code']}: {body['error']['message']}")
        data: Json = body["data"]
        return data

    def credits(self) -> int:
        """What it can spend."""
        limits = self.get("/v1/quota")["limits"]
        return int(limits["remaining_credits"] + limits["payment_backed_remaining_credits"])


def expect(found: Any, expected: Any, what: str) -> Any:
    """What was found. Raises `Failed` when it is not what was expected."""
    if found != expected:
        raise Failed(f"{what}: expected {expected}, found {found}")
    return found

"""How a request to a node fails, in our own words. Pure."""

from __future__ import annotations


class NoAnswer(Exception):
    """The node said nothing that can be read. `sent` is False when the request certainly did not leave."""

    def __init__(self, what: str, *, sent: bool) -> None:
        super().__init__(what)
        self.sent = sent


class NodeError(Exception):
    """The node answered with an error of JSON-RPC. `said` and `data` are its words, for reading, not for showing."""

    def __init__(self, *, code: int, said: str, data: object) -> None:
        super().__init__(f"JSON-RPC error {code}")
        self.code = code
        self.said = said
        self.data = data

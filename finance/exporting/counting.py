"""What is counted while a file is written, for the manifest: its rows, and its control totals. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


class TotalsDiffer(ArithmeticError):
    """Debits are not credits in a currency: the books, or who writes them out, are broken."""


@dataclass(slots=True)
class Counted:
    """Rows without headings, and what was debited and credited by currency, in minor units.

    `notes` says in words what a reader of the file must know, as what was left out of it.
    """

    rows: int = 0
    debits: Counter[str] = field(default_factory=Counter)
    credits: Counter[str] = field(default_factory=Counter)
    notes: dict[str, str] = field(default_factory=dict)

    def moved(self, currency: str, amount: int) -> None:
        """A transfer: the same amount on both sides."""
        self.debits[currency] += amount
        self.credits[currency] += amount

    def totals(self) -> dict[str, dict[str, int]]:
        """By currency, what was debited and what credited. Raises `TotalsDiffer`."""
        found = {
            currency: {"debits": self.debits[currency], "credits": self.credits[currency]}
            for currency in sorted(self.debits.keys() | self.credits.keys())
        }
        for currency, sides in found.items():
            if sides["debits"] != sides["credits"]:
                raise TotalsDiffer(f"in {currency} debits are {sides['debits']} and credits {sides['credits']}")
        return found

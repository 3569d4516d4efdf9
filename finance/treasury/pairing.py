"""Which transfers of a treasury the books explain, of those that no payment and no refund is known for. Pure.

What is left then nobody here knows, or nobody there: a transfer between two treasuries of ours explains itself, the
sales of USDC that name a transaction explain its transfers, and another sale explains one of exactly its amount.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Line:
    """A transfer on chain (`there`) that may be booked (`here`), as a difference: one is none, or they differ.

    Amounts are atomic units above 0. `name` and `attempt_id` say what the books have, `state` in which state the
    payment is of which the chain has the transfer.
    """

    network: str
    treasury: str
    transaction_hash: str | None
    log_index: int | None
    incoming: bool
    there: int | None
    here: int | None
    block_number: int | None
    name: str | None
    organization_id: UUID | None
    attempt_id: UUID | None
    state: str | None
    occurred_at: datetime

    @property
    def place(self) -> tuple[str, str | None, int | None]:
        """Where on which chain it stands."""
        return self.network, self.transaction_hash, self.log_index


@dataclass(frozen=True, slots=True)
class Sale:
    """USDC that an operator sold, in atomic units."""

    network: str
    reference: str
    amount: int
    transaction_hash: str | None
    sold_at: datetime

    @property
    def name(self) -> str:
        """How a sale is named wherever it has to be told from others."""
        return f"usdc_sold:{self.network}:{self.reference}"


@dataclass
class Explained:
    """What became of it: how many transfers have an explanation, what is left, and sales that do not fit.

    `different` has with a sale what its transaction really took out.
    """

    matched: int = 0
    left: list[Line] = field(default_factory=list)
    missing: list[Sale] = field(default_factory=list)
    different: list[tuple[Sale, int]] = field(default_factory=list)


def explained(lines: Sequence[Line], sales: Sequence[Sale]) -> Explained:
    """Explain what can be explained. A line explains at most one sale, the sales that name a transaction first."""
    between = {place for place, count in Counter(line.place for line in lines if _unknown(line)).items() if count > 1}
    done = Explained(matched=sum(line.place in between for line in lines))
    rest = [line for line in lines if line.place not in between]
    open_ = defaultdict[tuple[str, str | None], list[Line]](list)
    for line in rest:
        if _unknown(line) and not line.incoming:
            open_[line.network, line.transaction_hash].append(line)
    named = defaultdict[tuple[str, str], list[Sale]](list)
    for sale in sales:
        if sale.transaction_hash is not None:
            named[sale.network, sale.transaction_hash].append(sale)
    for place, some in named.items():
        _by_transaction(done, some, open_.pop(place, []))
    for sale in sorted(sales, key=lambda one: one.sold_at):
        if sale.transaction_hash is None:
            _by_amount(done, sale, open_)
    unsold = {line.place for some in open_.values() for line in some}
    done.left = [line for line in rest if line.incoming or not _unknown(line) or line.place in unsold]
    return done


def _unknown(line: Line) -> bool:
    return line.here is None


def _by_transaction(done: Explained, sales: Sequence[Sale], lines: Sequence[Line]) -> None:
    """What a transaction took out may be sold in parts: each sale takes its own of it, and the last one the rest."""
    left = _there(lines)
    fits = left == sum(sale.amount for sale in sales)
    for sale in sales:
        there = left if sale is sales[-1] else min(sale.amount, left)
        left -= there
        if not there:
            done.missing.append(sale)
        elif there != sale.amount:
            done.different.append((sale, there))
    done.matched += len(lines) if fits else 0


def _by_amount(done: Explained, sale: Sale, open_: dict[tuple[str, str | None], list[Line]]) -> None:
    """Take the transfer of the sale's amount that is nearest to it in time."""
    equal = [
        line for some in open_.values() for line in some if (line.network, line.there) == (sale.network, sale.amount)
    ]
    if not equal:
        done.missing.append(sale)
        return
    nearest = min(equal, key=lambda line: (abs(line.occurred_at - sale.sold_at), line.transaction_hash, line.log_index))
    open_[nearest.network, nearest.transaction_hash].remove(nearest)
    done.matched += 1


def _there(lines: Iterable[Line]) -> int:
    return sum(line.there or 0 for line in lines)

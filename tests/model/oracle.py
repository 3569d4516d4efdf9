"""A second opinion of the books: what the design says that posting does, in plain Python and as plainly as it goes.

Written from the design and not from the SQL. Nothing is kept that can be counted: a balance is the sum of its lots,
what a spender used is the sum of its charges, what is reversed in a lot's holds is the sum over the holds. So it
cannot go wrong in the bookkeeping of sums, which is where the real function is fast and could be wrong.

`Books.post` is one call of the posting function at the time `now`; its answers are to be equal in every field. What
each kind does stands in `kinds.py`, what a book has in `book.py` and `kept.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from uuid import UUID

from ledger.operations import Kind, Operation
from ledger.outcomes import Outcome, Posted
from tests.model.kinds import Book


class Books:
    """All books, and one call of the posting function."""

    def __init__(self) -> None:
        self.books: dict[UUID, Book] = {}

    def post(self, operations: Sequence[Operation], now: datetime) -> list[Posted]:
        """The answers, in the order of `operations`. Within a book their order counts, between books it does not."""
        for operation in operations:
            if operation.kind is Kind.OPENING:
                self.books.setdefault(operation.organization_id, Book(operation.organization_id))
        answers: dict[int, Posted] = {}
        for organization_id in {operation.organization_id for operation in operations}:
            mine = [n for n, operation in enumerate(operations) if operation.organization_id == organization_id]
            answers |= zip(mine, self._post_in(organization_id, [operations[n] for n in mine], now), strict=True)
        return [answers[n] for n in range(len(operations))]

    def _post_in(self, organization_id: UUID, operations: list[Operation], now: datetime) -> list[Posted]:
        book = self.books.get(organization_id)
        if book is None:
            return [Posted(operation.id, Outcome.BOOK_NOT_FOUND) for operation in operations]
        if book.post_due(now):
            return self._behind(book, operations)
        answers = []
        for group, members in groupby(operations, key=lambda operation: operation.group):
            together = list(members)
            if group:
                answers += self._post_group(organization_id, together, now)
            else:
                answers += [book.answer(operation, now) for operation in together]
                continue
            book = self.books[organization_id]
        return answers

    @staticmethod
    def _behind(book: Book, operations: list[Operation]) -> list[Posted]:
        """Only what was posted or refused before is answered; of a group that was refused, all."""
        answers = []
        for group, members in groupby(operations, key=lambda operation: operation.group):
            together = list(members)
            known = book.known(together, Outcome.CATCH_UP)
            if group and any(one.replayed and one.outcome is not Outcome.POSTED for one in known):
                known = book.known(together, Outcome.GROUP_REFUSED)
            answers += known
        return answers

    def _post_group(self, organization_id: UUID, operations: list[Operation], now: datetime) -> list[Posted]:
        """All or none; the first refusal says why, and is stored when it is of the kind that is."""
        before = copy.deepcopy(self.books[organization_id])
        known = before.known(operations, Outcome.GROUP_REFUSED)
        if any(one.outcome not in {Outcome.POSTED, Outcome.GROUP_REFUSED} for one in known):
            return known
        answers = [self.books[organization_id].answer(operation, now) for operation in operations]
        refused = next((n for n, answer in enumerate(answers) if answer.outcome is not Outcome.POSTED), None)
        if refused is None:
            return answers
        self.books[organization_id] = before
        said = answers[refused]
        answers = known
        answers[refused] = said if said.replayed else before.refuse(operations[refused], said.outcome, now)
        return answers

    def catch_up(self, organization_id: UUID, now: datetime) -> bool:
        """Post the next part of what fell due; whether more is left."""
        return self.books[organization_id].post_due(now)

"""A process of its own with a lane: posts what comes as JSON on stdin, prints the answers, one line each."""

import asyncio
import json
import sys
from uuid import UUID

from tests.books.lanes import insist, lane_on, spend


async def main() -> None:
    asked = json.load(sys.stdin)
    async with lane_on(asked["url"]) as lane:
        operations = [spend(UUID(book), key) for book, key in asked["spends"]]
        callers = [operations[n :: asked["callers"]] for n in range(asked["callers"])]

        async def one(mine):
            return [answer for operation in mine for answer in await insist(lane, [operation])]

        for answers in await asyncio.gather(*(one(mine) for mine in callers)):
            for answer in answers:
                print(json.dumps([str(answer.operation_id), answer.outcome, answer.seq, answer.available_after]))


asyncio.run(main())

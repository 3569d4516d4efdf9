"""One turn of a settlement: look at the chain, then do the one thing that comes next. Whoever drives it, any number of
times, at any number of processes; killed anywhere, the next turn goes on from what the rows and the chain say.

Theory of operation
-------------------
No transaction is open while the chain or a facilitator is asked. The order of a turn is what keeps it right: first the
payment is looked for (somebody may have carried it out), then it is asked whether it can still come, and only then is
anything sent. How long until the next turn depends on what is waited for; a node or facilitator that fails makes it
longer, and never changes what is known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy.exc import IntegrityError

from billing.database import Sessions
from billing.settlement_states import ON_ITS_WAY, Turn
from billing.settlement_states import SettlementState as S
from billing.settling import granting, records, reorganizing, sighting
from billing.settling.granting import NEVER_SENT, UNPAID
from billing.settling.records import Key, key_of
from billing.settling.screening import Screening, Verdict
from billing.settling.sighting import Sighting
from billing.settling.submitting import Progress, Submitter
from billing.settling_tables import Decision, Settlement
from ledger.ids import external
from rails.evm.chain import Chain
from rails.rail import OutcomeUnknown, RailUnavailable

AGAIN: Final = timedelta(seconds=1)
"""Until the next turn of a payment that is on its way: half a block of Base."""
QUIET: Final = timedelta(seconds=15)
"""Until the next turn of one that waits for its window to close, or for a node."""
UNSENT: Final = timedelta(minutes=2)
"""Until the next look at a payment that was never sent and whose window has closed."""
FINALITY: Final = timedelta(seconds=30)
"""Until the next look at one that is granted, or held, and not yet beyond a reorganization."""
DRIVE_FIRST: Final = timedelta(milliseconds=25)
"""Until the second turn: a chain that makes a block at once is not waited for."""
DRIVE_EVERY: Final = timedelta(milliseconds=200)
"""How often somebody who waits for an answer makes a turn."""
TURN_LEAST: Final = timedelta(seconds=2)
"""How long somebody who waits for an answer waits for a turn at least. One that takes longer goes on alone."""
LONG_UNKNOWN_TRIES: Final = 40
WINDOW_MARGIN: Final = timedelta(seconds=60)

Clock = Callable[[], datetime]

log = structlog.get_logger()


@dataclass(frozen=True)
class Desk:
    """All that a turn needs. `chain` is none where only a facilitator can be asked; its word is then believed."""

    sessions: Sessions
    network: str
    chain: Chain | None
    submitter: Submitter
    screening: Screening
    livemode: bool
    clock: Clock
    turns: set[asyncio.Task[None]] = field(default_factory=set, repr=False)
    """Those that go on although nobody waits for them any more. To cut one off is no worse than a crash."""


async def drive(desk: Desk, key: Key, *, wait: timedelta) -> Settlement:
    """Turn after turn until the payment is dealt with, at most for so long; the settlement as it stands then.

    Raises nothing that a node or a facilitator does: what is not known then is known later. One that does not answer
    in time is waited for by the turn, and not by the caller.
    """
    clock = asyncio.get_running_loop().time
    end, pause = clock() + wait.total_seconds(), DRIVE_FIRST
    while True:
        is_made = await _turned(desk, key, within=max(timedelta(seconds=end - clock()), TURN_LEAST))
        row = await records.read(desk.sessions, key)
        if not is_made:
            return row
        left = end - clock()
        if row.state not in {S.CLAIMED, S.SETTLING, S.UNKNOWN} or left <= 0:
            await records.look_again(desk.sessions, key, after_that=AGAIN, now=desk.clock())
            return row
        await asyncio.sleep(min(pause.total_seconds(), left))
        pause = min(2 * pause, DRIVE_EVERY)


async def _turned(desk: Desk, key: Key, *, within: timedelta) -> bool:
    """Make a turn. False when it takes longer: it then goes on alone."""
    turning = asyncio.create_task(turn(desk, key), name="settlement-turn")
    desk.turns.add(turning)
    turning.add_done_callback(desk.turns.discard)
    await asyncio.wait({turning}, timeout=within.total_seconds())
    if turning.done():
        turning.result()
        return True
    log.warning("settlement_turn_is_slow", settlement=str(key.settlement_id))
    return False


async def turn(desk: Desk, key: Key) -> None:
    """One turn. What the chain or a facilitator could not tell is asked again at the next."""
    row = await records.read(desk.sessions, key)
    try:
        wait = await _turn(desk, row)
    except (RailUnavailable, OutcomeUnknown, IntegrityError) as error:
        # A place on the chain that another settlement still has: they changed places, or a facilitator named one twice.
        log.warning("settlement_waits", attempt_id=external("payatt", row.attempt_id), reason=_in_words(error))
        await _lose_sight(desk, row, _in_words(error))
        wait = QUIET if row.tries > LONG_UNKNOWN_TRIES else AGAIN
    await records.look_again(desk.sessions, key, after_that=wait, now=desk.clock())


async def _turn(desk: Desk, row: Settlement) -> timedelta:
    if row.final:
        return FINALITY
    if desk.chain is None:
        return await _trusting(desk, row)
    if row.state in ON_ITS_WAY:
        return await _on_its_way(desk, desk.chain, row)
    if row.state in {S.SETTLED, S.VANISHED}:
        return await _until_final(desk, desk.chain, row)
    return await _waiting_for_a_person(desk, desk.chain, row)


async def _on_its_way(desk: Desk, chain: Chain, row: Settlement) -> timedelta:
    seen = await sighting.sight(chain, row, await desk.submitter.hashes(row))
    if seen is not None:
        return await _arrived(desk, chain, row, seen)
    if row.valid_before <= desk.clock().timestamp() and await sighting.can_never_come(chain, row):
        await granting.fail(desk.sessions, key_of(row), reason=UNPAID, is_final=True, now=desk.clock())
        return FINALITY
    if row.state == S.FAILED:
        # Nothing of it was sent, so only its payer can carry it out: that is looked for once its window has closed.
        return max(UNSENT, timedelta(seconds=row.valid_before - desk.clock().timestamp()))
    return await _submitted(desk, row)


async def _submitted(desk: Desk, row: Settlement) -> timedelta:
    submission = await desk.submitter.submit(row, now=desk.clock())
    match submission.progress:
        case Progress.REFUSED:
            reason = f"{NEVER_SENT} ({submission.reason})"
            has_failed = await granting.fail(
                desk.sessions,
                key_of(row),
                reason=reason,
                is_final=False,
                now=desk.clock(),
                was_handed_over=desk.chain is None,
            )
            if has_failed:
                return QUIET
        case Progress.DOUBTFUL:
            log.warning("settlement_doubtful", attempt_id=external("payatt", row.attempt_id), reason=submission.reason)
            await _lose_sight(desk, row, submission.reason)
            return QUIET
        case Progress.WAITING:
            log.info("settlement_waits", attempt_id=external("payatt", row.attempt_id), reason=submission.reason)
    return AGAIN


async def _arrived(desk: Desk, chain: Chain, row: Settlement, seen: Sighting) -> timedelta:
    """It stands in a block: grant it once that is final enough, unless its payer must not be dealt with."""
    if not await sighting.is_final_enough(chain, row, seen.block_number):
        if row.block_hash != seen.block_hash:
            await granting.seen(desk.sessions, key_of(row), seen)
        return AGAIN
    return await _judged(desk, row, seen, is_beyond=await sighting.is_beyond_reorganization(chain, seen.block_number))


async def _judged(desk: Desk, row: Settlement, seen: Sighting, *, is_beyond: bool) -> timedelta:
    screened = await desk.screening.screen(network=row.network, payer=row.payer)
    now = desk.clock()
    if screened.verdict is Verdict.ALLOW:
        await granting.grant(desk.sessions, row, seen, livemode=desk.livemode, now=now)
    elif screened.verdict is Verdict.REJECT and is_beyond:
        reason = screened.reason or "rejected"
        await granting.keep(desk.sessions, row, seen, reason=reason, livemode=desk.livemode, now=now)
    else:  # what is rejected is held until no reorganization can take it: then it is kept, for good
        reason = screened.reason or screened.verdict.value
        await granting.hold(desk.sessions, key_of(row), seen, reason=reason, now=now)
    return FINALITY


async def _until_final(desk: Desk, chain: Chain, row: Settlement) -> timedelta:
    """Granted: is it still there? Vanished: is it back, or gone for good?"""
    now = desk.clock()
    known = [row.transaction_hash] if row.transaction_hash is not None else []
    seen = await sighting.sight(chain, row, [*known, *await desk.submitter.hashes(row)])
    if row.state == S.SETTLED:
        if seen is not None:
            await reorganizing.moved(desk.sessions, row, seen)
            if await sighting.is_beyond_reorganization(chain, seen.block_number):
                await _close(desk, row)
            return FINALITY
        if await sighting.is_out(chain, row):
            await reorganizing.vanished(desk.sessions, row, livemode=desk.livemode, now=now)
        return AGAIN
    if seen is not None and await sighting.is_final_enough(chain, row, seen.block_number):
        await reorganizing.reappeared(desk.sessions, row, seen, livemode=desk.livemode, now=now)
    elif seen is None and await sighting.can_never_come(chain, row):
        await granting.fail(desk.sessions, key_of(row), reason=UNPAID, is_final=True, now=now)
    elif seen is None and row.valid_before > now.timestamp() and not await desk.submitter.sends_again(row):
        await desk.submitter.submit(row, now=now)
    return AGAIN


async def _waiting_for_a_person(desk: Desk, chain: Chain, row: Settlement) -> timedelta:
    """Held or kept: is it still there? What was decided of it is done as soon as the chain allows."""
    seen = await sighting.sight(chain, row, await desk.submitter.hashes(row))
    if seen is None:
        if row.state == S.HELD and await sighting.can_never_come(chain, row):
            await granting.fail(desk.sessions, key_of(row), reason=UNPAID, is_final=True, now=desk.clock())
        return FINALITY
    is_beyond = await sighting.is_beyond_reorganization(chain, seen.block_number)
    if row.state == S.KEPT and is_beyond:
        await _close(desk, row)
    elif row.state == S.HELD and await sighting.is_final_enough(chain, row, seen.block_number):
        await _decided(desk, row, seen, is_beyond=is_beyond)
    return FINALITY


async def _decided(desk: Desk, row: Settlement, seen: Sighting, *, is_beyond: bool) -> None:
    """A held payment: granted when an operator said so; kept when one did, or the screening, once it is final."""
    now = desk.clock()
    if row.decision == Decision.RELEASE:
        await granting.grant(desk.sessions, row, seen, livemode=desk.livemode, now=now)
    elif is_beyond and (row.decision == Decision.KEEP or await _is_rejected(desk, row)):
        reason = row.reason or Decision.KEEP
        await granting.keep(desk.sessions, row, seen, reason=reason, livemode=desk.livemode, now=now)


async def _is_rejected(desk: Desk, row: Settlement) -> bool:
    return (await desk.screening.screen(network=row.network, payer=row.payer)).verdict is Verdict.REJECT


async def _trusting(desk: Desk, row: Settlement) -> timedelta:
    """Only a facilitator can be asked. Its success counts as final; anything else leaves the payment unknown."""
    if row.block_number:
        return FINALITY  # seen in a block: that is looked after by a process that can ask a chain
    if row.state in {S.SETTLED, S.KEPT}:
        await _close(desk, row)
        return FINALITY
    if row.state == S.FAILED and row.transaction_hash is not None:
        return await _judged(desk, row, _as_said(row, row.transaction_hash), is_beyond=True)
    if row.state == S.HELD and row.transaction_hash is not None:
        await _decided(desk, row, _as_said(row, row.transaction_hash), is_beyond=True)
    if row.state not in {S.CLAIMED, S.SETTLING, S.UNKNOWN}:
        return FINALITY
    now = desk.clock()
    said = next(iter(await desk.submitter.hashes(row)), None)
    if said is None and row.valid_before <= (now - WINDOW_MARGIN).timestamp():
        await _lose_sight(desk, row, "its window has closed, and only the facilitator could tell")
        return UNSENT
    if said is None:
        wait = await _submitted(desk, row)
        row = await records.read(desk.sessions, key_of(row))
        said = next(iter(await desk.submitter.hashes(row)), None)
        if said is None:
            return wait
    return await _judged(desk, row, _as_said(row, said), is_beyond=True)


def _as_said(row: Settlement, transaction_hash: str) -> Sighting:
    """A payment in the words of a facilitator, which names a transaction and no block."""
    return Sighting(transaction_hash, 0, 0, "", row.created_at)


def _in_words(error: Exception) -> str:
    return "its place on the chain is another payment's" if isinstance(error, IntegrityError) else str(error)


async def _lose_sight(desk: Desk, row: Settlement, reason: object) -> None:
    async with desk.sessions() as session, session.begin():
        current = await records.locked(session, key_of(row))
        if records.move(current, Turn.LOST_SIGHT, desk.clock(), reason=str(reason)):
            log.warning("settlement_unknown", attempt_id=external("payatt", row.attempt_id), reason=str(reason))


async def _close(desk: Desk, row: Settlement) -> None:
    """Nothing can change it any more."""
    async with desk.sessions() as session, session.begin():
        current = await records.locked(session, key_of(row))
        if (current.state, current.reorganizations) == (row.state, row.reorganizations):
            current.final, current.updated_at = True, desk.clock()

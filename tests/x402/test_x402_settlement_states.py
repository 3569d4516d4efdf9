"""The table of a settlement's states: what it promises, and a history for each of its lines."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event

from billing.settlement_states import ON_ITS_WAY, PAYING, TRANSITIONS, Turn
from billing.settlement_states import SettlementState as S
from billing.settling.screening import Verdict
from billing.settling_tables import Decision, Settlement
from tests.x402.imagined import FINALIZED_BEHIND
from tests.x402.imagining import WINDOW_S, World, imagining


class Story:
    """One payment of a new wallet: each step is a word, so that a history is a sentence."""

    def __init__(self, world: World) -> None:
        self.world, self.chain = world, world.chain

    async def begin(self) -> None:
        await self.world.claim_top_up()
        [row] = await self.world.rows()
        self.payer, self.nonce = row.payer, row.nonce

    async def tell(self, steps: str) -> None:
        words: dict[str, Callable[[], Any]] = {
            "broke": lambda: self.chain.broke.add(self.payer),
            "solvent": self.chain.broke.clear,
            "hold": lambda: self.world.verdicts.update({self.payer: Verdict.HOLD}),
            "reject": lambda: self.world.verdicts.update({self.payer: Verdict.REJECT}),
            "swallowed": lambda: setattr(self.chain, "sending", "swallowed, and no answer"),
            "taken": lambda: setattr(self.chain, "sending", "taken"),
            "lost": self.chain.pool.clear,
            "paid": lambda: self._stranger("pays"),
            "cancelled": lambda: self._stranger("cancels"),
            "mined": lambda: self.world.mine(2),
            "final": lambda: self.world.mine(FINALIZED_BEHIND + 1),
            "reorganized": lambda: self.chain.reorganize(3, shorter=0, comes_back=False),
            "late": lambda: self.world.pass_time(WINDOW_S + 10),
        }
        for step in steps.split():
            if step == "turn":
                await self.world.turn(self.world.keys[0])
            elif step in set(Decision):
                await self.world.decide(self.world.keys[0], Decision(step))
            else:
                words[step]()

    def _stranger(self, act: Any) -> None:
        self.chain.stranger(act, self.nonce)
        self.world.mine(2)


UNKNOWN = "swallowed turn taken"
FAILED = "broke turn solvent"
STORIES = {
    (S.CLAIMED, Turn.SUBMITTED): "turn",
    (S.CLAIMED, Turn.PROVEN_UNPAID): "broke turn",
    (S.CLAIMED, Turn.HELD): "hold paid turn",
    (S.CLAIMED, Turn.GRANTED): "paid turn",
    (S.CLAIMED, Turn.REJECTED): "reject paid final turn",
    (S.SETTLING, Turn.LOST_SIGHT): "turn broke mined turn",
    (S.SETTLING, Turn.HELD): "turn hold mined turn",
    (S.SETTLING, Turn.GRANTED): "turn mined turn",
    (S.SETTLING, Turn.REJECTED): "turn reject final turn",
    (S.SETTLING, Turn.PROVEN_UNPAID): "turn lost late final turn",
    (S.UNKNOWN, Turn.SUBMITTED): "turn broke mined turn solvent turn",
    (S.UNKNOWN, Turn.HELD): f"{UNKNOWN} hold paid turn",
    (S.UNKNOWN, Turn.GRANTED): f"{UNKNOWN} paid turn",
    (S.UNKNOWN, Turn.REJECTED): f"{UNKNOWN} reject paid final turn",
    (S.UNKNOWN, Turn.PROVEN_UNPAID): f"{UNKNOWN} late final turn",
    (S.HELD, Turn.GRANTED): "hold paid turn release turn",
    (S.HELD, Turn.REJECTED): "hold paid turn keep final turn",
    (S.HELD, Turn.PROVEN_UNPAID): "hold paid turn reorganized cancelled final turn",
    (S.SETTLED, Turn.REORGANIZED): "paid turn reorganized turn",
    (S.VANISHED, Turn.REAPPEARED): "paid turn reorganized turn paid turn",
    (S.VANISHED, Turn.PROVEN_UNPAID): "paid turn reorganized turn late final turn",
    (S.FAILED, Turn.GRANTED): f"{FAILED} paid turn",
    (S.FAILED, Turn.HELD): f"{FAILED} hold paid turn",
    (S.FAILED, Turn.REJECTED): f"{FAILED} reject paid final turn",
}


@pytest.fixture(scope="module")
def told_database(new_databases):
    return new_databases("told")


@pytest.fixture
def changes():
    """Every change of a settlement's state while the test runs."""
    seen: list[tuple[str, str]] = []

    def noted(_row: Settlement, value: Any, before: Any, _initiator: Any) -> None:
        if isinstance(before, str) and before != value:
            seen.append((before, value))

    event.listen(Settlement.state, "set", noted)
    yield seen
    event.remove(Settlement.state, "set", noted)


def test_every_line_of_the_table_has_its_story():
    assert set(STORIES) == set(TRANSITIONS)


@pytest.mark.parametrize(("line", "steps"), STORIES.items(), ids=[f"{state}, {turn}" for state, turn in STORIES])
async def test_a_payment_goes_the_way_of_the_table(told_database, changes, line, steps):
    async with imagining(told_database) as begin:
        world = begin("own")
        story = Story(world)
        await story.begin()
        await story.tell(steps)
        assert changes[-1] == (line[0], TRANSITIONS[line])
        await world.end(decision=Decision.RELEASE)
        await world.assert_right()


@pytest.mark.parametrize(
    ("before", "afterwards"),
    [
        ("paid", "reorganized late final"),
        pytest.param("paid turn reorganized", "paid", marks=pytest.mark.long),
        pytest.param("paid turn reorganized turn paid", "reorganized late final", marks=pytest.mark.long),
    ],
)
async def test_a_turn_that_is_killed_at_a_commit_is_made_good_when_the_chain_has_turned_since(
    told_database, before, afterwards
):
    async with imagining(told_database) as begin:
        points: list[int | None] = [None]
        for at in points:
            world = begin("own")
            story = Story(world)
            await story.begin()
            await story.tell(before)
            assert await world.dying(world.turn(world.keys[0]), at, node_fails=False) is (at is not None)
            if at is None:
                points += [n for n, name in enumerate(world.plan.names, start=1) if "COMMIT" in name]
            await story.tell(afterwards)
            await world.end(decision=Decision.RELEASE)
            await world.assert_right()
        assert len(points) > 4


def test_nothing_leaves_kept_and_only_money_leaves_failed():
    assert [turn for state, turn in TRANSITIONS if state == S.KEPT] == []
    assert {turn for state, turn in TRANSITIONS if state == S.FAILED} == {Turn.GRANTED, Turn.HELD, Turn.REJECTED}


def test_what_was_granted_is_only_left_by_a_reorganization():
    assert {turn for state, turn in TRANSITIONS if state == S.SETTLED} == {Turn.REORGANIZED}
    assert {turn for state, turn in TRANSITIONS if state == S.VANISHED} == {Turn.REAPPEARED, Turn.PROVEN_UNPAID}


def test_no_payment_becomes_a_claim_again_and_every_state_and_turn_is_used():
    ends = set(TRANSITIONS.values())
    assert S.CLAIMED not in ends
    assert ends | {S.CLAIMED} == set(S)
    assert {turn for _, turn in TRANSITIONS} == set(Turn)


def test_money_that_arrived_is_dealt_with_from_every_state_in_which_it_may_arrive():
    for state in (*PAYING, *ON_ITS_WAY):
        assert {turn for one, turn in TRANSITIONS if one == state} >= {Turn.GRANTED, Turn.REJECTED}

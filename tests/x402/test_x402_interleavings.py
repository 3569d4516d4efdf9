"""A settlement against a world that does what it likes: every turn may be killed anywhere, and the chain is no friend.

What is granted and not taken back is what stands on the canonical chain once everything is final: for any history.
"""

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from billing.settlement_states import SettlementState as S
from billing.settling.claiming import AlreadyClaimed, Claimed
from billing.settling.screening import Verdict
from billing.settling_tables import Decision
from tests.x402.imagined import SENDINGS
from tests.x402.imagining import Way, World, imagining

CALM = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
CLAIMS_MAX = 4
WHICH = st.integers(0, CLAIMS_MAX - 1)
POINTS = st.integers(1, 60)


@pytest.fixture(scope="module")
def imagined_database(new_databases):
    return new_databases("imagined")


class Settling(RuleBasedStateMachine):
    """Some payments, of one gas wallet or one facilitator, and all that can happen to them in any order."""

    runner: ClassVar[asyncio.Runner]
    begin_with: ClassVar[Callable[[Way], World]]

    def run(self, what: Any) -> Any:
        return self.runner.run(what)

    def key(self, which: int) -> Any:
        return self.world.keys[which % len(self.world.keys)]

    @initialize(way=st.sampled_from(["own", "own", "facilitator"]), of_quote=st.booleans())
    def begin(self, way: Any, of_quote: bool) -> None:  # noqa: FBT001 - as hypothesis draws it
        self.world = type(self).begin_with(way)
        self.run(self.world.claim_quote() if of_quote else self.world.claim_top_up())

    @precondition(lambda self: len(self.world.keys) < CLAIMS_MAX)
    @rule(of_quote=st.booleans())
    def another_claims(self, of_quote: bool) -> None:  # noqa: FBT001 - as hypothesis draws it
        self.run(self.world.claim_quote() if of_quote else self.world.claim_top_up())

    @precondition(lambda self: len(self.world.keys) < CLAIMS_MAX)
    @rule()
    def whoever_failed_pays_again(self) -> None:
        rows = self.run(self.world.rows())
        failed = next((key for key, row in zip(self.world.keys, rows, strict=True) if row.state == S.FAILED), None)
        tried = {row.attempt_id for row in rows}
        if failed is not None and len(tried) == len(rows) and rows[-1].state == S.FAILED:
            self.run(self.world.pay_again(self.world.keys[-1]))

    @rule(which=WHICH, times=st.integers(1, 3))
    def turns(self, which: int, times: int) -> None:
        for _ in range(times):
            self.run(self.world.turn(self.key(which)))

    @rule()
    def all_take_a_turn_at_once(self) -> None:
        async def at_once() -> None:
            await asyncio.gather(*[self.world.turn(key) for key in self.world.keys * 2])

        self.run(at_once())

    @rule(which=WHICH, at=POINTS, node_fails=st.booleans())
    def a_turn_ends_half_way(self, which: int, at: int, node_fails: bool) -> None:  # noqa: FBT001 - as hypothesis draws it
        self.run(self.world.dying(self.world.turn(self.key(which)), at, node_fails=node_fails))

    @rule()
    def the_wallet_is_tended(self) -> None:
        self.run(self.world.tend())

    @rule(at=POINTS)
    def tending_is_killed(self, at: int) -> None:
        self.run(self.world.dying(self.world.tend(), at, node_fails=False))

    @rule(blocks=st.integers(1, 4))
    def blocks_come(self, blocks: int) -> None:
        self.world.mine(blocks)

    @rule(seconds=st.sampled_from([5, 25, 130, 310]))
    def time_passes(self, seconds: int) -> None:
        self.world.pass_time(seconds)

    @rule(depth=st.integers(1, 5), shorter=st.integers(0, 1), comes_back=st.booleans())
    def the_chain_reorganizes(self, depth: int, shorter: int, comes_back: bool) -> None:  # noqa: FBT001 - as hypothesis draws it
        self.world.chain.reorganize(depth, shorter=shorter, comes_back=comes_back)

    @rule(sending=st.sampled_from(["taken", *SENDINGS]))
    def sending_goes(self, sending: Any) -> None:
        self.world.chain.sending = sending

    @rule(which=WHICH, act=st.sampled_from(["pays", "pays", "pays somebody else", "cancels"]))
    def a_stranger_or_the_payer_is_faster(self, which: int, act: Any) -> None:
        row = self.run(self.world.rows())[which % len(self.world.keys)]
        self.world.chain.stranger(act, row.nonce)

    @rule(which=WHICH)
    def a_payer_cannot_pay_or_can_again(self, which: int) -> None:
        row = self.run(self.world.rows())[which % len(self.world.keys)]
        self.world.chain.broke.symmetric_difference_update({row.payer})

    @rule(which=WHICH, verdict=st.sampled_from([Verdict.HOLD, Verdict.REJECT, Verdict.ALLOW]))
    def the_screening_changes_its_mind(self, which: int, verdict: Verdict) -> None:
        row = self.run(self.world.rows())[which % len(self.world.keys)]
        self.world.verdicts[row.payer] = verdict

    @rule(which=WHICH, decision=st.sampled_from(list(Decision)))
    def an_operator_decides(self, which: int, decision: Decision) -> None:
        self.run(self.world.decide(self.key(which), decision))

    @invariant()
    def nothing_that_was_paid_is_denied(self) -> None:
        if hasattr(self, "world"):
            self.run(self.world.assert_nothing_is_denied())

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.run(self.world.end(decision=Decision.RELEASE))
            self.run(self.world.assert_right())


def walk(database, *, examples: int, steps: int, phases: tuple[Phase, ...]) -> None:
    with asyncio.Runner() as runner:
        shared = imagining(database)
        Settling.runner, Settling.begin_with = runner, runner.run(shared.__aenter__())
        try:
            run_state_machine_as_test(
                Settling,
                settings=settings(
                    max_examples=examples,
                    stateful_step_count=steps,
                    deadline=None,
                    derandomize=True,
                    database=None,
                    phases=phases,
                    suppress_health_check=CALM,
                ),
            )
        finally:
            runner.run(shared.__aexit__(None, None, None))


async def test_one_payment_that_is_claimed_many_times_at_once_is_claimed_once(imagined_database):
    async with imagining(imagined_database) as begin:
        world = begin("own")
        first = world.payable()
        for payable in (first, world.payable(first.payment.authorization.from_)):
            came = await asyncio.gather(*[world.top_up(payable) for _ in range(8)], return_exceptions=True)
            [claimed] = [one for one in came if not isinstance(one, AlreadyClaimed)]
            assert isinstance(claimed, Claimed)
            assert (claimed.token is not None) is (payable is first)


def test_any_history_grants_what_stands_on_the_chain(imagined_database):
    """A failure is not made small here, which takes minutes: the long test does."""
    walk(imagined_database, examples=6, steps=30, phases=(Phase.generate,))


@pytest.mark.long
def test_any_longer_history_grants_what_stands_on_the_chain(imagined_database):
    walk(imagined_database, examples=400, steps=50, phases=(Phase.generate, Phase.shrink))

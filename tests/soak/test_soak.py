"""A small soak and two larger equal ones in the long run; in every run the oracle and the plan by themselves."""

from __future__ import annotations

import pytest

from tests.soak.book import Balance, Book
from tests.soak.plan import draw
from tests.soak.running import soak
from tests.soak.steps import Buy

SEED = 20261121


@pytest.mark.long
def test_a_small_soak_with_a_killed_worker_ends_without_differences():
    plan = draw(SEED, 6, kills=1)
    assert {moment.what for moment in plan.storm if moment.stroke == "kill"} == {"worker"}
    report = soak(plan, minutes=15)
    assert report.differences == 0, report.text()


@pytest.mark.long
def test_two_soaks_of_one_seed_inject_the_same_and_end_in_the_same_balances():
    reports = [soak(draw(SEED, 80), minutes=15) for _ in range(2)]
    for report in reports:
        assert report.differences == 0, report.text()
    assert reports[0].digest == reports[1].digest
    assert reports[0].injected == reports[1].injected


def test_a_plan_is_drawn_from_its_seed_alone():
    assert draw(7, 60).content() == draw(7, 60).content()
    assert draw(7, 60).content() != draw(8, 60).content()
    assert sum(isinstance(step.act, Buy) for agent in draw(7, 60).agents for step in agent.steps) == 60


@pytest.mark.parametrize("seed", range(40))
def test_no_credit_is_lost_or_made_in_a_plan(seed):
    for agent in draw(seed, 40).agents:
        for step in agent.steps:
            assert min(step.after.spendable, step.after.held, step.after.frozen, step.after.owed) >= 0, step


def test_the_oracle_takes_unspent_then_held_then_owed_and_gives_back_the_other_way():
    book = Book()
    book.grant(1, 100, 100)
    book.spend(30)
    book.hold(20)
    book.reverse(1, "refund", 100)
    assert book.balance == Balance(0, 20, 0, 30)
    book.reverse(1, "refund", 60)
    assert book.balance == Balance(0, 20, 0, 0)
    book.release()
    assert book.balance == Balance(10, 0, 0, 0)


def test_the_oracle_settles_what_is_owed_from_the_next_paid_grant_and_undoes_that_too():
    book = Book()
    book.grant(1, 100, 100)
    book.spend(100)
    book.reverse(1, "dispute", 100)
    book.grant(2, 50, 0)
    assert book.balance == Balance(50, 0, 0, 100)
    book.grant(3, 120, 120)
    assert book.balance == Balance(70, 0, 0, 0)
    book.reverse(1, "dispute", 0)
    assert book.balance == Balance(170, 0, 0, 0)

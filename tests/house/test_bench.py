"""The bench measures what it says; how fast anything is, no test asserts."""

import importlib
import json
import math
from array import array
from pathlib import Path

import pytest
from PIL import Image

from bench.__main__ import ROWS
from bench.measuring.claims import Claim, within_rounds
from bench.measuring.drawing import draw
from bench.measuring.latency import BUCKETS, lower_edge_s, place_of, summarize
from bench.measuring.load import hot, uniform, zipf
from bench.measuring.running import Options, is_right, run
from bench.rounds import OWN_REIMPLEMENTATION, Turn, interleave
from bench.spends_10_books import ROW

README = Path(__file__).parents[2] / "bench" / "README.md"


@pytest.mark.long
def test_a_row_is_measured_verified_and_written_down(tmp_path):
    found = run(ROW, Options(rounds=1, seconds=0.3, output=tmp_path))
    assert is_right(found)
    ours, theirs = found["contenders"]
    assert (ours["name"], theirs["origin"]) == ("Purser", OWN_REIMPLEMENTATION)
    assert ours["median"] > 0 < theirs["median"]
    assert sum(ours["latency"]["requests_by_bucket_from_ms"].values()) == ours["latency"]["requests"]
    assert found["postgresql_settings"]["fsync"] == found["postgresql_settings"]["synchronous_commit"] == "on"
    assert json.loads((tmp_path / f"{ROW.name}.json").read_text()) == found
    with Image.open(tmp_path / f"{ROW.name}.png") as drawn:
        assert drawn.width > drawn.height > 0


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_has_a_command_and_is_explained(row):
    assert importlib.import_module(f"bench.{row.name}").ROW is row
    assert f"| `{row.name}` |" in README.read_text(encoding="utf-8")


def test_percentiles_are_those_of_all_requests():
    found = summarize([number / 1000 for number in range(1000, 0, -1)])
    assert found is not None
    assert (found.count, found.p50_s, found.p99_s, found.p999_s, found.max_s) == (1000, 0.5, 0.99, 0.999, 1.0)
    assert sum(found.buckets) == 1000


@pytest.mark.parametrize("seconds", [0.0, 1e-5, 3e-4, 0.2, 99.0, 1e6])
def test_a_bucket_holds_what_falls_into_it(seconds):
    number = int(place_of(seconds))
    assert 0 <= number < BUCKETS
    inside = min(max(seconds, lower_edge_s(0)), math.nextafter(lower_edge_s(BUCKETS), 0))
    assert lower_edge_s(number) <= inside * (1 + 1e-9)
    assert inside < lower_edge_s(number + 1) * (1 + 1e-9)


async def test_contenders_take_turns_after_one_that_does_not_count():
    order = []

    def turn(name):
        async def work(latencies):
            order.append(name)
            latencies.append(float(len(order)))
            return 1

        return Turn(name, work)

    found = await interleave([turn("a"), turn("b")], rounds=2)
    assert order == ["a", "b"] * 3
    assert [one.latencies for one in found] == [array("d", [3.0, 5.0]), array("d", [4.0, 6.0])]


def test_a_ratio_is_taken_within_each_round():
    assert within_rounds((10, 30), (1, 2)) == (10, 15)
    assert within_rounds((10, 30), (10,)) == (1, 3)


@pytest.mark.parametrize(
    ("value", "at_most", "reached"),
    [(7, False, "not reached"), (8, False, "first goal"), (10, False, "second goal"),
     (7, True, "first goal"), (9, True, "not reached")],
)  # fmt: skip
def test_a_claim_says_which_goal_it_reaches(value, at_most, reached):
    second = None if at_most else 10
    assert Claim("claim", (value,), 8, second, at_most=at_most).reached == reached


def test_draws_are_the_same_in_every_run_and_skewed_as_said():
    assert [pick() for pick in [uniform(50)] * 5] == [pick() for pick in [uniform(50)] * 5]
    pick = zipf(1000, 2.0)
    first = sum(pick() == 0 for _ in range(10_000)) / 10_000
    assert 0.58 < first < 0.64
    assert {hot()() for _ in range(3)} == {0}


def test_a_histogram_shows_even_a_single_request(tmp_path):
    latency = summarize([0.002])
    assert latency is not None
    draw(tmp_path / "one.png", "One", [("contender", latency)])
    with Image.open(tmp_path / "one.png") as drawn:
        colours = {colour for _, colour in drawn.convert("RGB").getcolors(maxcolors=1 << 16) or []}
    assert (0x25, 0x63, 0xEB) in colours

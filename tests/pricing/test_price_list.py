import os
import re
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from api import price_list
from api.price_list import PriceBook, Unusable, read_price_list
from api.reasons import UNUSABLE_SETTINGS, CannotGoOn
from billing.pricing import Availability, Policy, PriceList

DOCUMENT = (Path(__file__).parents[2] / "docs" / "price-list.md").read_text(encoding="utf-8")
_FOUND = re.search(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)
EXAMPLE = _FOUND[1] if _FOUND else ""
WRONG = re.findall(r"^\| `(.+?)` \| `(.+?)` \| `(prices\.yaml:.+)` \|$", DOCUMENT, re.MULTILINE)
WORKED = re.findall(r"^\| `([\w.-]+)` \| (\d+) \| [^|]+ \| [^|]+ \| (\d+) \|$", DOCUMENT, re.MULTILINE)
SMALL = """\
version: 1
models:
  - id: a.b
    name: A
    provider: a
    modality: image
    operations: [create]
    availability: available
    price: {policy: fixed, credits: 1}
"""
PARAMETERS = SMALL + "    parameters:\n      p: {kind: KIND}\n"


def read(text: str) -> PriceList:
    return read_price_list(text.encode(), name="f")


def faults(text: str | bytes) -> list[str]:
    raw = text.encode() if isinstance(text, str) else text
    with pytest.raises(Unusable) as raised:
        read_price_list(raw, name="f")
    return str(raised.value).splitlines()


def test_the_example_of_the_document_is_a_price_list():
    prices = read(EXAMPLE)
    assert [model.id for model in prices.models] == ["studio.portrait", "studio.contact-sheet", "elsewhere.voice"]
    portrait, _, voice = prices.models
    assert prices.find("default") is prices.find("portrait") is portrait
    assert (portrait.price.cost_micro_usd, voice.price.margin_basis_points) == (50_000, 2_500)
    assert voice.price.cost_micro_usd == 12_500
    assert (portrait.deadline.total_seconds(), voice.deadline.total_seconds()) == (300, 900)
    assert portrait.parameters["style"].choices == ("plain", "painted")


def test_the_worked_prices_of_the_document_are_what_is_charged():
    prices = read(EXAMPLE)
    for name, units, credits_ in WORKED:
        model = prices.find(name)
        assert model is not None
        assert model.price.credits_for(int(units)) == int(credits_)
    assert len(WORKED) == 6


@pytest.mark.parametrize(("instead", "stands", "said"), WRONG)
def test_the_errors_of_the_document_are_what_is_said(instead, stands, said):
    assert instead in EXAMPLE
    with pytest.raises(Unusable) as raised:
        read_price_list(EXAMPLE.replace(instead, stands, 1).encode(), name="prices.yaml")
    assert str(raised.value).splitlines() == said.split("`<br>`")


def test_the_document_shows_errors():
    assert len(WRONG) == 14


def test_the_built_in_list_has_an_example_of_everything_and_what_the_client_needs():
    prices = PriceBook(None, executor="placeholder").current()
    first = prices.models[0]
    assert (first.id, first.price.credits_for(1), prices.default_id) == ("house.painter", 7, "house.painter")
    assert first.executable
    assert "create" in first.operations
    assert {model.price.policy for model in prices.models} == set(Policy)
    assert any(model.availability is Availability.CATALOG_ONLY for model in prices.models)
    assert len({model.modality for model in prices.models}) > 1


def test_without_a_default_it_is_the_first_that_is_available():
    second = SMALL.partition("models:\n")[2].replace("a.b", "a.c")
    assert read(SMALL.replace("available", "unavailable") + second).default_id == "a.c"


@pytest.mark.parametrize(
    ("cost", "margin", "read_as"),
    [
        ("0.000001", "0.01", (1, 1)),
        ("999999.999999", "9999.99", (999_999_999_999, 999_999)),
        (3, 20, (3_000_000, 2_000)),
        ("0.1", "12.5", (100_000, 1_250)),
        ("0", "0.00", (0, 0)),
    ],
)
def test_dollars_and_percents_are_read_exactly(cost, margin, read_as):
    written = {"policy": "cost_plus", "cost_usd": cost, "margin_percent": margin}
    entry = price_list.PriceEntry.model_validate(written)
    assert (entry.cost_usd, entry.margin_percent) == read_as


PRICE = "price: {policy: fixed, credits: 1}"
COST_PLUS = 'price: {policy: cost_plus, margin_percent: "1", cost_usd: '


@pytest.mark.parametrize(
    "cost", ["0.05", '"0.0000001"', '"1e3"', '"-1"', '".5"', '"5."', '"1_0"', '"01"', '"1000000"', '"nan"', '"٣"', '""']
)
def test_money_in_any_other_shape_is_refused_where_it_stands(cost):
    place = 5 + len(COST_PLUS)
    assert faults(SMALL.replace(PRICE, COST_PLUS + cost + "}"))[0].startswith(
        f"f:9:{place}: models[0].price.cost_usd: must be decimal text"
    )


POSITIONS = [
    # What no reader of YAML understands
    ("", "f:1:1: the file is empty"),
    ("# only a remark\n", "f:1:1: the file is empty"),
    ("version: 1\n\tmodels: 2", "f:2:1: while scanning for the next token, found character '\\t' that cannot start"),
    (SMALL + "---\n" + SMALL, "f:10:1: expected a single document in the stream, but found another document"),
    ("version: 1\nx: \x07", "f:2:4: this character may not stand in YAML"),
    # What ours does not take
    ("[" * 5000, "f:1:11: this is nested too deep"),
    ("a: &x [1]\nb: *x", "f:1:4: anchors and aliases are not taken"),
    ("a: *x", "f:1:4: anchors and aliases are not taken"),
    ("a: !!python/object/apply:os.getcwd []", "f:1:4: tags are not taken"),
    ("a: !!set {b}", "f:1:4: tags are not taken"),
    ("a: !mine b", "f:1:4: write a number in plain digits"),
    ("<<: {a: 1}", "f:1:1: the name of a field is text"),
    ("1: 2", "f:1:1: the name of a field is text"),
    ("? [a]\n: b", "f:1:3: the name of a field is text"),
    ("version: 1\nversion: 1", "f:2:1: version stands here twice"),
    *((f"a:\n  - {value}", "f:2:5: write a number in plain digits") for value in ("yes", "010", "1_000", "1:30")),
    *(
        (f"a:\n  - {value}", "f:2:5: write a number in plain digits")
        for value in ("2026-01-01", "0x1F", ".inf", "1.5e+3")
    ),
    # What is no price list
    ("- a", "f:1:1: the file must have fields"),
    ("version: 1", "f:1:1: models is required"),
    ("version: 1\nmodels: []", "f:2:9: models: list should have at least 1 item"),
    ("version: 1\nmodels: 7", "f:2:9: models: input should be a valid list"),
    ("version: 1\nmodels: [7]", "f:2:10: models[0] must have fields"),
    (SMALL.replace("version: 1", "version: '1'"), "f:1:10: version: input should be 1"),
    (SMALL.replace("a.b", "A b"), "f:3:9: models[0].id: string should match pattern"),
    (SMALL.replace("a.b", "default"), "f:3:9: default is taken already"),
    (SMALL.replace("a.b", "xai.grok-imagine-image-2"), "f:3:9: the public client has prices of its own"),
    (SMALL.replace("name: A", "name: ' A'"), "f:4:11: models[0].name: must be one line"),
    (SMALL.replace("name: A", "name:"), "f:4:10: models[0].name: input should be a valid string"),
    (SMALL.replace("[create]", "[create, create]"), "f:7:26: create stands here twice"),
    (SMALL.replace("[create]", "[generate]"), "f:7:18: generate stands here twice, or is called create"),
    (SMALL.replace("[create]", "create"), "f:7:17: models[0].operations: input should be a valid list"),
    (SMALL.replace("availability: available", "availability: yes"), "f:8:19: write a number"),
    (
        SMALL.replace("availability: available", "availability: on-sale"),
        "f:8:19: models[0].availability: input should be",
    ),
    (SMALL + "    units_max: 101", "f:10:16: models[0].units_max: input should be less than or equal to 100"),
    (SMALL + "    units_max: '4'", "f:10:16: models[0].units_max: input should be a valid integer"),
    (SMALL + "    deadline_s: 0", "f:10:17: models[0].deadline_s: input should be greater than or equal to 1"),
    (SMALL + "    surprise: 1", "f:10:5: models[0].surprise is no field of a price list"),
    (SMALL + "    aliases: [c, c]", "f:10:18: c is taken already"),
    (SMALL + "default: a.c", "f:10:10: default must be the id"),
    (SMALL.replace(": available", ": catalog_only") + "default: a.b", "f:10:10: default must be the id"),
    # Prices
    (SMALL.replace("credits: 1", "credits: true"), "f:9:37: models[0].price.credits: input should be a valid integer"),
    (SMALL.replace(", credits: 1", ""), "f:9:12: a price that is fixed needs credits"),
    (SMALL.replace("credits: 1", "credits: 1, margin_percent: 1"), "f:9:56: margin_percent is no part of a price"),
    (SMALL.replace("fixed", "cost_plus"), "f:9:41: credits is no part of a price that is cost_plus"),
    (SMALL.replace("fixed, credits: 1", "cost_plus"), "f:9:12: a price that is cost_plus needs cost_usd"),
    (SMALL.replace("fixed, credits: 1", "cost_plus, cost_usd: 1"), "f:9:12: a price that is cost_plus needs margin"),
    (
        SMALL.replace("fixed, credits: 1", "per_unit, credits: 100000000") + "    units_max: 2",
        "f:9:12: a job of units_max units would cost more than 100000000 credits",
    ),
    # Parameters
    (SMALL + "    parameters: {Bad: {kind: string}}", "f:10:18: models[0].parameters.Bad: string should match"),
    (PARAMETERS.replace("KIND", "text"), "f:11:17: models[0].parameters.p.kind: input should be 'string'"),
    (PARAMETERS.replace("KIND", "string, minimum: 1"), "f:11:34: minimum goes with numbers"),
    (PARAMETERS.replace("KIND", "integer, choices: [1], maximum: 1"), "f:11:49: maximum goes with numbers"),
    (PARAMETERS.replace("KIND", "integer, choices: [1, 1.5]"), "f:11:39: a choice of this integer must be a whole"),
    (PARAMETERS.replace("KIND", "number, choices: [1.5, 2, 1.5]"), "f:11:43: 1.5 stands here twice"),
    (PARAMETERS.replace("KIND", "boolean, choices: [true]"), "f:11:36: a boolean has no choices"),
    (PARAMETERS.replace("KIND", "number, minimum: 0.5"), "f:11:34: models[0].parameters.p.minimum: input should be"),
]


@pytest.mark.parametrize(("text", "said"), POSITIONS)
def test_every_fault_is_said_with_the_position_of_its_node(text, said):
    assert faults(text)[0].startswith(said)


def test_bytes_that_are_no_text_are_said_with_their_position():
    assert faults(b"version: 1\n  \xff") == ["f:2:3: this is not UTF-8"]


def test_a_byte_order_mark_is_no_fault():
    assert read_price_list(b"\xef\xbb\xbf" + SMALL.encode(), name="f").default_id == "a.b"


def test_many_faults_are_said_at_once_and_not_all_of_them():
    many = SMALL + "".join(f"    extra_{number}: 1\n" for number in range(30))
    said = faults(many)
    assert len(said) == price_list.FAULTS_SHOWN_MAX
    assert said[1] == "f:11:5: models[0].extra_1 is no field of a price list"


def test_a_file_that_is_too_large_is_not_even_parsed():
    assert faults("x" * (price_list.BYTES_MAX + 1)) == [f"f:1:1: the file is larger than {price_list.BYTES_MAX} bytes"]


def test_more_models_than_a_list_may_have_are_refused():
    head, _, row = SMALL.partition("models:\n")
    rows = [row.replace("a.b", f"a.b{number}") for number in range(price_list.MODELS_MAX + 1)]
    assert len(read(head + "models:\n" + "".join(rows[:-1])).models) == price_list.MODELS_MAX
    assert "list should have at most 200 items" in faults(head + "models:\n" + "".join(rows))[0]


class Kept:
    """A price list in a file, its book, and a clock that the test moves."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "prices.yaml"
        self.path.write_text(SMALL, encoding="utf-8")
        self.now = 0.0
        self.book = PriceBook(self.path, executor="callout", clock=lambda: self.now)

    def write(self, text: str) -> None:
        """Another file in its place, as a careful operator does it."""
        new = self.path.with_suffix(".new")
        new.write_text(text, encoding="utf-8")
        new.replace(self.path)

    def credits(self) -> int:
        return self.book.current().models[0].price.credits

    def later(self, seconds: float = 1.0) -> list[Any]:
        """Look again after a while; what the log says."""
        self.now += seconds
        with structlog.testing.capture_logs() as said:
            self.book.current()
        return [line["event"] for line in said]


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


DEARER = SMALL.replace("credits: 1", "credits: 2")


def test_a_changed_file_is_read_again_at_most_once_a_second(kept):
    digest = kept.book.current().digest
    kept.write(DEARER)
    assert kept.later(0.9) == []
    assert kept.credits() == 1
    assert kept.later(0.1) == ["price_list_read"]
    assert kept.credits() == 2
    assert kept.book.current().digest != digest
    assert kept.later() == []


def test_a_file_of_the_same_size_and_time_is_noticed_by_its_inode(kept):
    before = kept.path.stat()
    kept.write(DEARER)
    os.utime(kept.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert kept.path.stat().st_size == before.st_size
    assert kept.later() == ["price_list_read"]
    assert kept.credits() == 2


def test_a_bad_file_keeps_the_last_good_list_and_is_logged_once(kept):
    kept.write("version: 2")
    assert kept.later() == ["price_list_unreadable"]
    assert kept.later() == kept.later() == []
    assert kept.credits() == 1
    kept.write("version: 3\nmodels: []")
    assert kept.later() == ["price_list_unreadable"]
    kept.write(DEARER)
    assert kept.later() == ["price_list_read"]
    assert kept.credits() == 2
    kept.write("version: 2")
    assert kept.later() == ["price_list_unreadable"]


def test_a_file_that_is_gone_keeps_the_last_good_list_until_it_is_back(kept):
    kept.path.unlink()
    assert kept.later() == ["price_list_unreadable"]
    assert kept.later() == []
    assert kept.credits() == 1
    kept.write(DEARER)
    assert kept.later() == ["price_list_read"]
    assert kept.credits() == 2


def test_a_pipe_in_its_place_is_never_opened(kept):
    kept.path.unlink()
    os.mkfifo(kept.path)
    assert kept.later() == ["price_list_unreadable"]
    assert kept.credits() == 1


def test_a_service_does_not_start_with_a_bad_file_and_says_where_it_is_bad(tmp_path):
    path = tmp_path / "prices.yaml"
    path.write_text("version: 2", encoding="utf-8")
    with pytest.raises(CannotGoOn) as raised:
        PriceBook(path, executor=None)
    assert raised.value.exit_code == UNUSABLE_SETTINGS
    assert f"PURSER_PRICE_LIST names no price list that can be used:\n{path}:1:10: version: input" in str(raised.value)


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_a_service_does_not_start_without_its_file(tmp_path, name):
    with pytest.raises(CannotGoOn, match="PURSER_PRICE_LIST"):
        PriceBook(tmp_path / name, executor=None)


def test_without_an_executor_all_is_listed_only(tmp_path):
    prices = PriceBook(None, executor=None).current()
    assert {model.availability for model in prices.models} == {Availability.CATALOG_ONLY}
    assert prices.default_id == "house.painter"

import pytest
from pydantic import SecretStr

from api.account_map import all_maps, one_map, own
from api.reasons import CannotGoOn
from api.settings import Settings
from api.wiring import build
from finance.exporting import account_maps, files
from finance.exporting.account_maps import Unusable, read
from ledger.chart import CHART
from ledger.money import Currency

DOLLARS = sorted(account.code for account in CHART if account.currency is Currency.USD)
HEAD = """dates: year-month-day
columns:
  - {heading: Day, value: date}
  - {heading: Account, value: account}
  - {heading: Amount, value: signed}
accounts:
"""
GOOD = HEAD + "".join(f'  {code}: "010"\n' for code in DOLLARS)


def test_a_map_of_ones_own_is_taken_as_it_is_written():
    found = read(GOOD.replace('"010"', "010").encode(), name="map")
    assert set(found.accounts) == set(DOLLARS)
    assert set(found.accounts.values()) == {"010"}
    assert [column.heading for column in found.columns] == ["Day", "Account", "Amount"]


@pytest.mark.parametrize("name", files.READY_MAPS)
def test_a_ready_map_can_be_used_and_gives_each_account_a_name_of_its_own(name):
    found = files.ready_map(name)
    assert len(set(found.accounts.values())) == len(DOLLARS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "map:1:1: the file is empty"),
        ("a: [", "map:1:5: expected the node content, but found '<stream end>'"),
        ("- x", "map:1:1: here stand fields with their values"),
        (GOOD.replace("dates: ", "date: "), "map:1:1: there is no date here"),
        (GOOD.replace("year-month-day", "any"), "map:1:8: this is one of year-month-day, day-month-year,"),
        (GOOD.replace("value: signed", "value: gross"), "map:5:30: this is one of narration, journal, date,"),
        (GOOD.replace("value: signed", "value: debit"), "map:3:3: there are columns for date and account, and"),
        (GOOD.replace("value: date", "value: date, text: x"), "map:3:5: a column has a value or a text"),
        (GOOD + "  bank: x\n", f"map:{len(GOOD.splitlines()) + 1}:3: bank stands here twice"),
        (GOOD.replace('  bank: "010"\n', ""), "map:7:3: these accounts are not mapped: bank"),
        (GOOD.replace('bank: "010"', 'bank: ""'), "this is no text of 1 to 200 printable characters"),
        (GOOD.replace('bank: "010"', "bank: [a]"), "this is no text of 1 to 200 printable characters"),
        (GOOD.replace("bank:", "wallet:"), "there is no wallet here"),
        (GOOD.split("accounts")[0], "map:1:1: accounts is missing"),
        ("columns: " + "[" * 700, "map:1:1: this is nested too deep"),
        ("x" * (account_maps.BYTES_MAX + 1), "map:1:1: the file is larger than 65536 bytes"),
        (b"\xff", "map:1:1: this is not UTF-8"),
        (r'dates: "\UFFFFFFFF"', "map:1:1: this is not YAML"),
        (f"%YAML {'9' * 5000}.1", "map:1:1: this is not YAML"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_map_is_said_with_its_place(text, said):
    with pytest.raises(Unusable) as refused:
        read(text if isinstance(text, bytes) else text.encode(), name="map")
    assert said in str(refused.value)


def test_a_map_of_the_settings_stands_beside_those_that_are_ready(tmp_path):
    path = tmp_path / "map.yaml"
    path.write_text(GOOD)
    found = own(path)
    assert set(all_maps(found)) == {"own", "quickbooks", "xero"}
    assert set(all_maps(own(None))) == {"quickbooks", "xero"}
    assert one_map(str(path)) == {"own": found}
    assert set(one_map("xero")) == {"xero"}
    assert "accounting.csv" in files.files(one_map(str(path)))


@pytest.mark.parametrize(("content", "said"), [("dates: x", ":1:1: columns is missing"), (None, "No such file")])
def test_a_service_with_a_map_that_cannot_be_used_does_not_start(tmp_path, content, said):
    path = tmp_path / "map.yaml"
    if content is not None:
        path.write_text(content)
    settings = Settings(database_url=SecretStr("postgresql://nobody@127.0.0.1:9/none"), account_map=path)
    with pytest.raises(CannotGoOn, match="No account map that can be used") as stopped:
        build(settings)
    assert str(path) in str(stopped.value)
    assert said in str(stopped.value)

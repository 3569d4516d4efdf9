"""`purser demo-finance`: it ends well and leaves what it says, and it would not end well with another exception."""

import hashlib
import json
import re
from pathlib import Path

import pytest

from api.demo.finance import reconciling
from api.demo.finance.closing import rows_of
from api.demo.telling import Failed
from tests.serving.purser import purser

ROOT = Path(__file__).parents[2]
FAULTS = {("bank", "po_1"): ("different", -30, "usd"), ("chain", "place"): ("missing_here", 1_230_000, "usdc")}


def report(faults, *, more=0):
    exceptions = [
        {
            "exception_id": f"exception_{n}", "source": source, "subject": subject,
            "finding": finding, "amount": amount, "currency": currency,
        }
        for n, ((source, subject), (finding, amount, currency)) in enumerate(faults.items())
    ]  # fmt: skip
    return {"exceptions": exceptions, "more_exceptions": more}


def test_exactly_the_injected_exceptions_are_taken():
    assert reconciling.require_exactly(report(FAULTS), FAULTS) == {"po_1": "exception_0", "place": "exception_1"}
    first = dict([next(iter(FAULTS.items()))])
    other = FAULTS | {("bank", "po_1"): ("different", -31, "usd")}
    for told in (report(first), report({}), report(other), report(FAULTS, more=1)):
        with pytest.raises(Failed, match="not injected"):
            reconciling.require_exactly(told, FAULTS)
    with pytest.raises(Failed, match="place"):
        reconciling.require_exactly(report(FAULTS), first)


@pytest.mark.long
def test_the_month_is_closed_and_exported_whatever_the_environment_says(tmp_path):
    ended = purser(tmp_path, "demo-finance", PURSER_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "faults, and exactly these were found" in ended.stdout
    assert "no errors: " in ended.stdout
    assert not (tmp_path / ".purser-demo").exists()
    exports = tmp_path / ".purser" / "exports"
    [folder] = [found for found in exports.iterdir() if re.fullmatch(r"\d{4}-\d\d", found.name)]
    said = json.loads((folder / "manifest.json").read_text())
    assert said["watermark"]["kind"] == "seal"
    assert said["watermark"]["digest"] in ended.stdout
    for file in said["files"]:
        assert hashlib.sha256((folder / file["name"]).read_bytes()).hexdigest() == file["sha256"]
    assert {one.name for one in (exports / f"{folder.name}-statements").iterdir()} == {
        "bank.csv",
        "stripe-itemized.csv",
    }
    if "NOT RUN" not in ended.stdout:
        _agrees_with_its_document(folder)


def _agrees_with_its_document(folder):
    """`docs/finance.md` tells the figures of this demo."""
    text = (ROOT / "docs" / "finance.md").read_text()
    total = rows_of(folder, "roll-forward.csv")[-1]
    told = re.search(r"^\s*total +([-.\d ]+)$", text, re.MULTILINE)
    assert told is not None
    assert [abs(float(one)) for one in told[1].split()] == [
        float(total[name])
        for name in ("opening", "sold", "consumed", "expired", "refunded", "disputed", "adjusted", "closing")
    ]
    for row in rows_of(folder, "trial-balance.csv"):
        if row["currency"] == "USD" and row["account"] != "total":
            assert re.search(rf"`{row['account']}`.*\s-?{row['closing_decimal'].lstrip('-')} ", text), row["account"]

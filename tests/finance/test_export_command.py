"""`purser export`, as a person types it; in this process, because each is a process otherwise."""

import asyncio
import json
import os
import re

import pytest
from typer.testing import CliRunner

from api.cli import app
from api.reasons import CannotGoOn
from ledger.ids import external
from tests.finance.exported import MAPS, content_of, lived
from tests.finance.month import BOOKS
from tests.service import STRIPE_KEY


@pytest.fixture
def run(month_database, monkeypatch):
    """`await run(argument, …)`: one command; what it said, or why it could not go on."""
    for name in [name for name in os.environ if name.startswith("PURSER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PURSER_DATABASE_URL", month_database.run_url)
    monkeypatch.setenv("PURSER_STRIPE_SECRET_KEY", STRIPE_KEY)

    def typed(*arguments):
        ended = CliRunner().invoke(app, ["export", *map(str, arguments)])
        if isinstance(ended.exception, CannotGoOn):
            return f"{ended.exception.exit_code}: {ended.exception}"
        assert ended.exception is None, ended.output
        return " ".join(ended.output.split())

    return lambda *arguments: asyncio.to_thread(typed, *arguments)


async def test_an_export_is_written_into_a_folder_and_is_the_same_when_it_is_asked_for_again(month, run, tmp_path):
    await lived(month)
    first = tmp_path / "first"
    said = await run("2026-11", "--data-dir", tmp_path, "--to", first)
    [name] = re.findall(r"under (export_\w{26}) \(mark\)", said)
    assert "journal.csv 16 rows" in said
    assert "writing trial-balance.csv" in said
    manifest = json.loads(content_of(first)["manifest.json"])
    assert {entry["name"] for entry in manifest["files"]} == content_of(first).keys() - {"manifest.json"}
    await month.spend(BOOKS[0], 1)
    again = await run("2026-11", "--data-dir", tmp_path, "--watermark", name)
    folder = tmp_path / "exports" / f"2026-11-{name}"
    assert f"{name} (mark) is in {folder}" in again
    assert content_of(folder) == content_of(first)


async def test_only_what_is_wanted_is_written(month, run, tmp_path):
    await lived(month)
    one = external("org", BOOKS[0])
    wanted = ("--only", "statement.csv", "--only", "accounting-xero.csv", "--organization", one)
    await run("2026-11", "--data-dir", tmp_path, "--to", tmp_path / "some", "--format-map", "xero", *wanted)
    assert set(content_of(tmp_path / "some")) == {"statement.csv", "accounting-xero.csv", "manifest.json"}
    assert len(MAPS) == 2


async def test_a_folder_of_another_export_is_not_written_over_unasked(month, run, tmp_path):
    await lived(month)
    to = ("--data-dir", tmp_path, "--to", tmp_path / "some", "--only", "heads.csv")
    await run("2026-11", *to)
    before = content_of(tmp_path / "some")
    said = await run("2026-10", *to)
    assert said.startswith(f"2: {tmp_path / 'some'} has an export of '2026-11' under 'export_")
    assert said.endswith("name another folder, or --force.")
    assert content_of(tmp_path / "some") == before
    assert "is in" in await run("2026-10", *to, "--force")
    assert content_of(tmp_path / "some") != before


async def test_what_cannot_be_exported_is_said_in_a_sentence(month, run, tmp_path):
    await lived(month)
    made = await run("2026-11", "--data-dir", tmp_path, "--to", tmp_path / "x", "--only", "heads.csv")
    [name] = re.findall(r"export_\w{26}", made)
    for arguments, said in (
        (("2026-13",), "2: A period is a month such as 2026-10, not '2026-13'."),
        (("2026-11", "--only", "nothing.csv"), "2: There is no file nothing.csv; there are journal.csv,"),
        (("2026-10", "--watermark", name), f"2: {name} is of 2026-11, not of 2026-10."),
        (("2026-11", "--watermark", "export_x"), "1: There is no such export."),
        (("2026-11", "--format-map", tmp_path / "none"), "2: No account map that can be used:"),
        (("2026-11", "--organization", "me"), "2: me is not an organization's id"),
    ):
        assert (await run(*arguments, "--data-dir", tmp_path)).startswith(said)

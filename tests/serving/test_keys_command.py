"""`purser keys` as a person runs it."""

import asyncio
import re

import pytest

from api.command_line import keys
from api.reasons import CannotGoOn
from api.settings import Settings
from api.wiring import build
from billing import operator_keys
from billing.refusals import Refused
from tests.serving.purser import typed

TOKEN = re.compile(r"pok_[0-9a-z]{26}[\w-]{43}\b")
KEY = re.compile(r"opkey_[0-9a-z]{26}\b")


@pytest.fixture
def database(new_databases):
    return new_databases("keys")


@pytest.fixture
def run(folder, database):
    """`run(argument, …)`: one `purser keys` command on a database of its own."""
    return lambda *arguments: typed(folder, "keys", *arguments, PURSER_DATABASE_URL=database.run_url)


def lives(database, token):
    """Whether the token authenticates now."""

    async def asked():
        house = build(Settings(database_url=database.run_url))
        try:
            await operator_keys.authenticate(house.bearers.operators, token, now=house.clock())
        except Refused:
            return False
        finally:
            await house.close()
        return True

    return asyncio.run(asked())


def test_a_key_is_created_listed_rotated_and_revoked(run, database):
    made = run("create", "--name", "the [shop]", "--scope", "spend", "--scope", "read")
    assert made.returncode == 0, made.stderr
    [token], [key] = TOKEN.findall(made.stdout), KEY.findall(made.stdout)
    assert "shown this once" in made.stdout
    assert "the [shop], for spend, read" in made.stdout
    assert lives(database, token)

    rotated = run("rotate", key, "--grace", "0")
    [newer] = TOKEN.findall(rotated.stdout)
    assert KEY.findall(rotated.stdout) == [key]
    assert (lives(database, token), lives(database, newer)) == (False, True)

    again = run("rotate", key)
    [newest] = TOKEN.findall(again.stdout)
    assert lives(database, newer), "a grace is the default"

    revoked = run("revoke", key)
    assert revoked.returncode == 0, revoked.stderr
    assert key in revoked.stdout
    assert (lives(database, newer), lives(database, newest)) == (False, False)

    listed = run("list")
    [line] = [line for line in listed.stdout.splitlines() if line.startswith(key)]
    assert "the [shop]" in line
    assert "spend, read" in line
    assert "pok_" not in listed.stdout
    assert not any(one[30:] in listed.stdout for one in (token, newer, newest))

    too_late = run("rotate", key)
    assert (too_late.returncode, "was revoked" in too_late.stderr) == (1, True)
    for ended in (made, rotated, again, revoked, listed, too_late):
        assert not TOKEN.search(ended.stderr)


def test_a_list_says_that_it_is_empty_or_how_to_go_on(run):
    assert "no keys" in run("list").stdout
    made = [KEY.findall(run("create", "--name", name, "--scope", "grant").stdout)[0] for name in ("one", "two")]
    first = run("list", "--limit", "1")
    assert first.stdout.count("opkey_") == 2
    assert f"--after {made[0]}" in first.stdout
    rest = run("list", "--after", made[0])
    assert KEY.findall(rest.stdout) == [made[1]]


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (["create", "--name", "shop"], 2, "--scope"),
        (["create", "--scope", "spend"], 2, "--name"),
        (["create", "--name", "shop", "--scope", "everything"], 2, "'admin'"),
        (["create", "--name", " ", "--scope", "spend"], 2, "names its holder"),
        (["rotate", "opkey_00000000000000000000000007", "--grace", "3601"], 2, "3600"),
        (["rotate", "opkey_00000000000000000000000007"], 1, "no such operator key"),
        (["revoke", "opkey_00000000000000000000000007"], 1, "no such operator key"),
        (["revoke", "shop"], 2, "purser keys list"),
        (["list", "--after", "shop"], 2, "purser keys list"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(run, arguments, exit_code, said):
    ended = run(*arguments)
    assert ended.returncode == exit_code, ended.stdout + ended.stderr
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_token_in_the_place_of_an_id_is_not_repeated():
    with pytest.raises(CannotGoOn) as refused:
        keys.parse("pok_" + "7" * 26 + "hidden-word")
    assert "hidden-word" not in str(refused.value)
    assert "token" in str(refused.value)

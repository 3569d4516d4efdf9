"""The commands beside the service, and what they say when something is wrong."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from api.postgres.connection import ask
from api.postgres.databases import create_database
from api.reasons import UNUSABLE_SETTINGS, CannotGoOn
from api.wiring import async_url
from billing.fresh import new_id
from ledger import ids
from tests import postgres_cluster as cluster
from tests.service import Database, free_port
from tests.serving.purser import purser, typed

SECRET = "sk_live_4eC39HqLyjWDarjtT1zdp7dc"


@pytest.fixture
def database(new_databases: Callable[[str], Database]) -> Database:
    return new_databases("commands")


def test_check_reports_a_run_role_that_can_write_the_books(folder, database):
    ended = typed(folder, "check", PURSER_DATABASE_URL=database.owner_url)
    assert ended.returncode == 1
    [line] = [line for line in ended.stdout.splitlines() if " run role: " in line]
    assert line.startswith("WRONG")
    assert "is a superuser" in line
    assert "purser_run" in ended.stdout, "and how to mend it"


def test_check_names_the_table_that_the_run_role_can_write(folder, database):
    ask(database.owner_url, "GRANT UPDATE (last_seq) ON ledger.books TO purser_service")
    ended = typed(folder, "check", PURSER_DATABASE_URL=database.run_url)
    assert ended.returncode == 1
    assert "can write ledger.books" in ended.stdout


def test_check_is_content_with_the_run_role_as_it_is_migrated(folder, database):
    ended = typed(folder, "check", PURSER_DATABASE_URL=database.run_url, PURSER_SANDBOX="true")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "purser_service can read the books and cannot write them" in ended.stdout


def test_check_in_live_mode_wants_https_and_webhook_secrets_and_shows_no_key(folder):
    ended = typed(folder, "check", PURSER_STRIPE_SECRET_KEY=SECRET)
    assert ended.returncode == 1
    assert "PURSER_PUBLIC_URL" in ended.stdout
    assert "PURSER_STRIPE_WEBHOOK_SECRETS" in ended.stdout
    assert SECRET not in ended.stdout + ended.stderr
    assert not (folder / ".purser").exists(), "to check changes nothing"


def test_a_database_that_is_gone_is_a_finding_without_its_password(folder):
    ended = typed(folder, "check", PURSER_DATABASE_URL="postgresql://someone:hidden-word@127.0.0.1:1/nothing")
    assert ended.returncode == 1
    assert "WRONG  database" in ended.stdout
    assert "hidden-word" not in ended.stdout + ended.stderr


def test_wrong_settings_are_sentences_that_name_the_variable_and_not_its_value(folder):
    ended = typed(folder, "serve", PURSER_PORT="ninety", PURSER_STRIPE_SECRET_KEY=SECRET)
    assert ended.returncode == 2
    assert "PURSER_PORT" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "ninety" not in ended.stderr
    assert SECRET not in ended.stderr


def test_serving_with_stripe_but_without_webhook_secrets_is_refused(folder):
    ended = typed(folder, "serve", PURSER_STRIPE_SECRET_KEY=SECRET)
    assert ended.returncode == 2
    assert "PURSER_STRIPE_WEBHOOK_SECRETS" in ended.stderr


def test_production_says_migrate_when_the_schema_is_not_the_newest(folder, pytestconfig):
    server = cluster.server(pytestconfig)
    name = f"empty_{new_id(datetime.now(UTC)).hex}"
    create_database(server, name)
    production = {
        "PURSER_DATABASE_URL": server.url(database=name),
        "PURSER_STRIPE_SECRET_KEY": "sk_test_of_the_tests",
        "PURSER_STRIPE_WEBHOOK_SECRETS": "whsec_of_the_tests",
    }
    for command in ("serve", "work"):
        ended = typed(folder, command, **production, PURSER_PORT=str(free_port()))
        assert ended.returncode == 1
        assert "purser migrate" in ended.stderr
    migrated = typed(folder, "migrate", **production, PURSER_MIGRATE_URL=server.url(database=name))
    again = typed(folder, "migrate", **production, PURSER_MIGRATE_URL=server.url(database=name))
    assert migrated.stdout.startswith("Migrated from nothing to "), migrated.stderr
    assert again.stdout.startswith("The schema is the newest already"), again.stderr
    assert (migrated.returncode, again.returncode) == (0, 0)


@pytest.mark.long
def test_migrating_the_embedded_database_twice_is_harmless(folder):
    first, second = purser(folder, "migrate"), typed(folder, "migrate")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert second.stdout.startswith("The schema is the newest already")
    books = typed(folder, "books", "org_platform")
    assert "The books of org_platform" in books.stdout


def test_commands_without_a_database_say_how_to_get_one(folder):
    for command in ("verify", "work"):
        ended = typed(folder, command)
        assert ended.returncode == 1
        assert "purser serve" in ended.stderr
    assert not (folder / ".purser").exists()


def test_verify_finds_a_changed_balance_and_fails(folder, database):
    settings = {"PURSER_DATABASE_URL": database.run_url}
    assert typed(folder, "verify", **settings).returncode == 0
    ask(database.owner_url, "UPDATE ledger.books SET last_seq = last_seq + 1")
    ended = typed(folder, "verify", **settings)
    assert ended.returncode == 1
    assert "WRONG org_platform book" in ended.stdout


def test_a_parked_letter_is_listed_shown_without_secrets_and_retried(folder, database):
    settings = {"PURSER_DATABASE_URL": database.run_url}
    now = datetime.now(UTC)
    letter = new_id(now)
    body = {"id": "evt_1", "client_secret": "pi_1_secret_abcdefgh", "data": [f"key {SECRET}", "4242 4242 4242 4242"]}
    ask(
        database.owner_url,
        "INSERT INTO webhooks.letters (id, source, provider_event_id, type, body, state, reason, tries,"
        " next_try_at, received_at, done_at)"
        " VALUES ($1, 'stripe', 'evt_1', 'charge.updated', $2, 'parked', 'amounts', 3, $3, $3, $3)",
        letter,
        json.dumps(body).encode(),
        now,
    )
    name = ids.external("letter", letter)
    listed = typed(folder, "letters", "--state", "parked", **settings)
    assert name in listed.stdout
    assert "amounts" in listed.stdout
    shown = typed(folder, "letters", "show", name, **settings)
    assert json.loads(shown.stdout)["body"]["client_secret"] == "[redacted]"
    assert SECRET not in shown.stdout
    assert "4242 4242" not in shown.stdout
    retrying = ("letters", "retry", name, "--reason", "refunded at Stripe")
    assert typed(folder, *retrying, **settings).returncode == 0
    again = typed(folder, *retrying, **settings)
    assert (again.returncode, "the letter is pending" in again.stderr.lower()) == (1, True)
    assert name not in typed(folder, "letters", "--state", "parked", **settings).stdout


def test_what_strangers_wrote_in_a_letter_cannot_speak_to_the_terminal(folder, database):
    settings = {"PURSER_DATABASE_URL": database.run_url}
    now = datetime.now(UTC)
    letter = new_id(now)
    ask(
        database.owner_url,
        "INSERT INTO webhooks.letters (id, source, provider_event_id, type, body, state, reason, tries,"
        " next_try_at, received_at, done_at)"
        " VALUES ($1, 'stripe', 'evt_2', $4, $2, 'parked', '[redacted]\x1b[2J\x9b1m', 3, $3, $3, $3)",
        letter,
        json.dumps({"id": "evt_2", "note": "\x9b31m \u202e"}, ensure_ascii=False).encode(),
        now,
        "a[/x]b",
    )
    listed = typed(folder, "letters", **settings)
    assert listed.returncode == 0, listed.stderr
    assert "a[/x]b" in listed.stdout
    assert "[redacted]" in listed.stdout
    shown = typed(folder, "letters", "show", ids.external("letter", letter), **settings)
    assert json.loads(shown.stdout)["body"]["note"] == "\x9b31m \u202e"
    for said in (listed.stdout, shown.stdout):
        assert all(one.isprintable() or one == "\n" for one in said), said


@pytest.mark.parametrize(
    "url",
    [
        "nonsense hidden-word",
        "",
        "mysql://someone:hidden-word@127.0.0.1/db",
        "postgresql://someone:hidden-word@127.0.0.1:54a32/db",
        "postgresql://someone:hidden-word@127.0.0.1:99999/db",
        "postgresql://someone:hidden-word@127..1/db",
        "postgresql://someone:hidden-word@127.0.0.1/db?sslmode=require",
        "postgresql://someone:hidden-word@127.0.0.1/db?ssl=hidden-word",
    ],
)
def test_a_mistyped_database_url_is_a_sentence_that_names_the_variable(url):
    with pytest.raises(CannotGoOn) as refused:
        async_url(url)
    assert "PURSER_DATABASE_URL" in str(refused.value)
    assert "hidden-word" not in str(refused.value)
    assert refused.value.exit_code == UNUSABLE_SETTINGS


@pytest.mark.parametrize("command", ["check", "letters", "migrate", "serve"])
def test_no_command_answers_a_mistyped_database_url_with_a_traceback_or_its_value(folder, command):
    url = "postgresql://someone:hidden-word@127.0.0.1:54a32/db"
    settings = {"PURSER_DATABASE_URL": url, "PURSER_MIGRATE_URL": url, "PURSER_PORT": str(free_port())}
    ended = typed(folder, command, **settings, PURSER_SANDBOX="true")
    assert ended.returncode == UNUSABLE_SETTINGS, ended.stderr
    assert "PURSER_DATABASE_URL" in ended.stderr
    assert "hidden-word" not in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "rest",
    ["u:p%40@db.example:5432/purser?ssl=require", "u@[::1]/purser", "u@/purser?host=/run/postgresql"],
)
def test_what_is_a_database_url_is_left_as_it_is(rest):
    assert async_url(f"postgresql://{rest}") == f"postgresql+asyncpg://{rest}"
    assert async_url(f"postgres://{rest}") == f"postgresql+asyncpg://{rest}"


def test_a_mistyped_url_for_migrating_names_its_own_variable(folder, database):
    ended = typed(folder, "migrate", PURSER_DATABASE_URL=database.run_url, PURSER_MIGRATE_URL="nonsense")
    assert (ended.returncode, "PURSER_MIGRATE_URL" in ended.stderr) == (2, True), ended.stderr


def test_a_database_of_a_schema_that_is_not_known_is_refused_in_words(folder, pytestconfig):
    server = cluster.server(pytestconfig)
    name = f"unknown_{new_id(datetime.now(UTC)).hex}"
    create_database(server, name)
    url = server.url(database=name)
    ask(url, "CREATE TABLE alembic_version (version_num varchar(32))")
    ask(url, "INSERT INTO alembic_version VALUES ('0001')")
    ended = typed(folder, "migrate", PURSER_DATABASE_URL=url, PURSER_MIGRATE_URL=url)
    assert ended.returncode == 1
    assert "at schema 0001, which this version does not know" in ended.stderr

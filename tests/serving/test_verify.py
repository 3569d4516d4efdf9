"""`purser verify` says whether the books fit their journal and the heads that were published, and billing the books."""

import asyncpg
import pytest

from api.command_line import books
from tests.serving.purser import typed


@pytest.fixture
def database(new_databases):
    return new_databases("verify")


async def test_verify_says_that_proofs_agree_and_names_a_payment_that_was_never_granted(folder, database):
    settings = {"PURSER_DATABASE_URL": database.run_url}
    clean = typed(folder, "verify", **settings)
    assert clean.returncode == 0, clean.stderr
    assert [line.split(":")[0] for line in clean.stdout.splitlines()] == ["1 book verified", "proofs agree"]
    connection = await asyncpg.connect(database.owner_url)
    await connection.execute("SET session_replication_role = replica")
    await connection.execute(
        "INSERT INTO billing.external_payments"
        " (kind, external_id, organization_id, attempt_id, purpose, amount_cents, operation_id, created_at)"
        " SELECT 'payment_intent', 'pi_forged', u, u, 'granted', 500, u, now() FROM gen_random_uuid() AS u"
    )
    await connection.close()
    ended = typed(folder, "verify", **settings)
    assert ended.returncode == 1
    first, granted, *_ = ended.stdout.splitlines()
    assert first.startswith("1 book verified"), "the books themselves are as they were"
    assert "payment is granted: payment_intent pi_forged" in granted
    assert "proofs agree" not in ended.stdout


def test_verify_holds_a_published_head_against_the_journal(folder, database):
    settings = {"PURSER_DATABASE_URL": database.run_url}
    [(seq, digest)] = database.rows("SELECT last_seq, head FROM ledger.books")
    good = f"org_platform={digest.hex()}@{seq}"
    assert typed(folder, "verify", "org_platform", "--head", good, **settings).stdout.startswith("1 book verified")
    for head, says in (
        (f"org_platform={'0' * 64}@1", "WRONG org_platform operation 1: hash is not the head that was published"),
        (f"org_platform={'0' * 64}@9", "WRONG org_platform book: ends at seq 1; a head of seq 9 was published"),
    ):
        ended = typed(folder, "verify", "--head", good, "--head", head, **settings)
        assert (ended.returncode, ended.stdout.splitlines()[0]) == (1, says)


@pytest.mark.parametrize("head", ["", "org_platform=00@1", f"org_platform={'0' * 64}@0", f"nobody={'0' * 64}@1"])
def test_a_head_that_is_no_head_is_refused(folder, database, head):
    ended = typed(folder, "verify", "--head", head, PURSER_DATABASE_URL=database.run_url)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "Traceback" not in ended.stderr


def test_a_head_of_another_organization_is_refused(folder, database):
    other = f"org_{'0' * 26}"
    ended = typed(folder, "verify", other, "--head", f"org_platform={'0' * 64}@1", PURSER_DATABASE_URL=database.run_url)
    assert ended.returncode == 2
    assert "another organization" in ended.stderr


def test_progress_is_told_on_standard_error_every_so_many_operations(capsys, monkeypatch):
    monkeypatch.setattr(books, "TOLD_EVERY", 100)
    with books.progress_told() as progress:
        for operations in range(50, 301, 50):
            progress(2, operations)
    told = capsys.readouterr()
    assert told.out == ""
    assert [line.split(", ")[1] for line in told.err.splitlines()] == [f"{n} operations" for n in (100, 200, 300)]

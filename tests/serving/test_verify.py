"""`purser verify` says whether the proofs of billing agree with the books."""

import asyncpg
import pytest

from tests.serving.purser import purser


@pytest.fixture
def database(new_databases):
    return new_databases("verify")


async def test_verify_says_that_proofs_agree_and_names_a_payment_that_was_never_granted(folder, database):
    settings = {"PURSER_DATABASE_URL": database.run_url}
    clean = purser(folder, "verify", **settings)
    assert clean.returncode == 0, clean.stderr
    assert [line.split(":")[0] for line in clean.stdout.splitlines()] == ["1 book verified", "proofs agree"]
    connection = await asyncpg.connect(database.owner_url)
    await connection.execute("SET session_replication_role = replica")
    await connection.execute(
        "INSERT INTO billing.external_payments"
        " (kind, external_id, organization_id, attempt_id, operation_id, created_at)"
        " SELECT 'payment_intent', 'pi_forged', u, u, u, now() FROM gen_random_uuid() AS u"
    )
    await connection.close()
    ended = purser(folder, "verify", **settings)
    assert ended.returncode == 1
    first, granted, *_ = ended.stdout.splitlines()
    assert first.startswith("1 book verified"), "the books themselves are as they were"
    assert "payment is granted: payment_intent pi_forged" in granted
    assert "proofs agree" not in ended.stdout

"""A million operations are exported in bounded memory; how long it takes is a row of the bench."""

import asyncio
import json
import os
import subprocess
import sys

import asyncpg
import pytest

from tests.service import STRIPE_KEY

OPERATIONS, BOOKS = 1_000_000, 100
MEMORY_MAX_KB = 300 * 1024
TIMEOUT_S = 900
_BULK = f"""
SET session_replication_role = replica;
INSERT INTO ledger.books (lane, organization_id, last_seq, last_lot, head, issued, wallet, consumed, paid)
SELECT 0, lpad(to_hex(b), 32, '0')::uuid, {OPERATIONS // BOOKS}, 1, sha256('x'), 10000000, 9000000, 1000000, 0
FROM generate_series(1, {BOOKS}) AS b;
INSERT INTO ledger.operations (lane, organization_id, seq, posted_at, available_after, held_after, paid_after,
  accounting_date, id, scope, kind, outcome, cause, key, fingerprint, hash, lines)
SELECT 0, lpad(to_hex(b), 32, '0')::uuid, n, '2026-10-01'::timestamptz + n * interval '4 minutes', 0, 0, 0,
  ('2026-10-01'::timestamptz + n * interval '4 minutes')::date, gen_random_uuid(), gen_random_uuid(), 'spend', 'posted',
  'an image', 'key-' || n, '\\x00112233445566778899aabbccddeeff', sha256(n::text::bytea), ARRAY[4, 1, 1, 7, 0, 0]
FROM generate_series(1, {BOOKS}) AS b, generate_series(1, {OPERATIONS // BOOKS}) AS n;
SET session_replication_role = origin;
"""
_COMMAND = """
import re, sys
from pathlib import Path
from api.cli import main
main_error = None
try:
    main()
except SystemExit as ended:
    main_error = ended.code
# Not getrusage(): its peak is that of the process that began this one, before it ran another program.
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
sys.exit(main_error)
"""


async def fill(url: str) -> None:
    connection = await asyncpg.connect(url, server_settings={"timezone": "UTC"})
    try:
        await connection.execute(_BULK)
    finally:
        await connection.close()


@pytest.mark.long
def test_a_million_operations_are_exported_in_bounded_memory(new_databases, tmp_path, record_property):
    database = new_databases("million")
    asyncio.run(fill(database.owner_url))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PURSER_")}
    done = subprocess.run(
        [sys.executable, "-c", _COMMAND, "export", "2026-10", "--data-dir", tmp_path, "--to", tmp_path / "files"],
        env={**environment, "PURSER_DATABASE_URL": database.run_url, "PURSER_STRIPE_SECRET_KEY": STRIPE_KEY},
        capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    kilobytes = int(done.stdout.split()[-1])
    record_property("memory of an export of 1 M operations", f"{kilobytes // 1024} MB")
    assert kilobytes < MEMORY_MAX_KB
    entries = {entry["name"]: entry for entry in json.loads((tmp_path / "files/manifest.json").read_text())["files"]}
    assert entries["journal.csv"]["rows"] == entries["journal.jsonl"]["rows"] == OPERATIONS
    assert entries["ledger.beancount"]["totals"]["CREDIT"] == {"debits": 7 * OPERATIONS, "credits": 7 * OPERATIONS}

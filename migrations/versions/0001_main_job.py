"""The main job: books, billing, inbox, roles.

Revision ID: close2
Revises: none
"""

from pathlib import Path
from typing import Any

from alembic import op
from sqlalchemy.util import await_only

revision = "close2"  # those before it were never released: a database in one of them is refused
down_revision = None
branch_labels = None
depends_on = None

PARTS = (
    "roles", "schemas", "tables", "money_tables", "settling_tables", "contract_tables", "books", "journal", "writing",
    "finance_tables", "granting", "holding", "reversing", "closing", "spending", "posting", "grants",
)  # fmt: skip


def upgrade() -> None:
    """Roles, tables, functions, grants: each part is plain SQL that can be read and run by itself."""
    for part in PARTS:
        script = Path(__file__).with_name(f"0001_{part}.sql").read_text(encoding="utf-8")
        # One statement through SQLAlchemy first: it sends BEGIN with its own first statement only, and what runs on the
        # driver's connection before that would not roll back.
        op.execute("SELECT 1")
        driver: Any = op.get_bind().connection.driver_connection
        await_only(driver.execute(script))

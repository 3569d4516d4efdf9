"""The rows of operator keys. They belong to no organization: an operator is the product that sits next to the ledger.

A key and its secrets are two tables, because the key's id is the idempotency scope of what is posted with it and must
outlive every secret.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Final
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, LargeBinary, Text, UniqueConstraint, Uuid
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import SQLModel

from billing.scopes import Scope
from ledger.columns import column, time

SCHEMA = "billing"
NAME_LENGTH_MAX: Final = 100
_SCOPES = ", ".join(repr(scope.value) for scope in Scope)


class OperatorKey(SQLModel, table=True):
    """Who may operate and how far. `name` is the holder; `revoked_at` ends the key at once, whatever time it says."""

    __tablename__ = "operator_keys"
    __table_args__: ClassVar[Any] = (
        CheckConstraint(f"char_length(name) BETWEEN 1 AND {NAME_LENGTH_MAX}", name="holder_is_named"),
        CheckConstraint("cardinality(scopes) > 0", name="key_may_do_something"),
        CheckConstraint(f"scopes <@ ARRAY[{_SCOPES}]", name="scopes_are_known"),
        {"schema": SCHEMA},
    )
    id: UUID = column(Uuid, key=True)
    name: str = column(Text)
    scopes: list[str] = column(ARRAY(Text))
    created_at: datetime = time()
    rotated_at: datetime | None = time(null=True)
    revoked_at: datetime | None = time(null=True)


class OperatorSecret(SQLModel, table=True):
    """One secret of a key, kept as a hash only. `revoked_at` may lie in the future: until then is its grace."""

    __tablename__ = "operator_secrets"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("id", name="one_secret_per_id"),
        ForeignKeyConstraint(["key_id"], ["billing.operator_keys.id"], name="secret_belongs_to_key"),
        CheckConstraint("octet_length(secret_hash) = 32", name="hash_is_sha256"),
        {"schema": SCHEMA},
    )
    key_id: UUID = column(Uuid, key=True)
    id: UUID = column(Uuid, key=True)
    secret_hash: bytes = column(LargeBinary)
    created_at: datetime = time()
    revoked_at: datetime | None = time(null=True)

"""The rows of payments that a wallet signs and we carry out: settlements, what we sent, whose wallet is whose.

`billing.settling` says what happens to them; `docs/settlement-states.md` has the states.
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlmodel import SQLModel

from billing.settlement_states import SettlementState
from ledger.columns import column, one_of, organization_key, time

SCHEMA = "billing"


class Decision(enum.StrEnum):
    """What an operator may say of a payment that is held."""

    RELEASE = "release"
    KEEP = "keep"


class Settlement(SQLModel, table=True):
    """One signed payment, bound to one attempt: the claim that keeps it from counting twice.

    `payer`, `nonce`, `signature` and the rest are what was signed (EIP-3009); amounts are atomic units of the token,
    times Unix seconds. `digest` is the EIP-712 digest: the same signed content, whoever presents it. `from_block`: the
    payment is in no older block, because it had not been made when it was verified. `handed_over`: how often a
    facilitator was given it, or may have been. `transaction_hash` to `paid_at` say
    where on the chain it was seen, `decision` what an operator said of one that is held, `reorganizations` how often it
    vanished and came back; `final`: no more has to be looked for. Guarded by its own lock, the first in the lock order.
    """

    __tablename__ = "settlements"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("network", "asset", "payer", "nonce", name="one_settlement_per_authorization"),
        UniqueConstraint("network", "transaction_hash", "log_index", name="one_settlement_per_transfer"),
        ForeignKeyConstraint(
            ["organization_id", "attempt_id"],
            ["billing.payment_attempts.organization_id", "billing.payment_attempts.id"],
            name="settlement_of_an_attempt",
        ),
        CheckConstraint(one_of("state", list(SettlementState)), name="state_is_known"),
        CheckConstraint("octet_length(nonce) = 32 AND octet_length(digest) = 32", name="words_have_32_bytes"),
        CheckConstraint("amount_atomic > 0", name="settlement_of_something"),
        CheckConstraint(one_of("decision", list(Decision)), name="decision_is_known"),
        Index("settlements_by_state", "state", "created_at", postgresql_where=text("NOT final")),
        Index(
            "one_settlement_at_a_time",
            "organization_id",
            "attempt_id",
            unique=True,
            postgresql_where=text("state <> 'failed'"),
        ),
        Index(
            "one_payment_per_identifier",
            "network",
            "payer",
            "payment_identifier",
            unique=True,
            postgresql_where=text("payment_identifier IS NOT NULL"),
        ),
        Index("settlements_to_look_at", "next_try_at", postgresql_where=text("NOT final")),
        {"schema": SCHEMA},
    )
    organization_id: UUID = organization_key()
    id: UUID = column(Uuid, key=True)
    attempt_id: UUID = column(Uuid)
    network: str = column(Text)
    asset: str = column(Text)
    payer: str = column(Text)
    nonce: bytes = column(LargeBinary)
    digest: bytes = column(LargeBinary)
    signature: bytes = column(LargeBinary)
    pay_to: str = column(Text)
    amount_atomic: int = column(BigInteger)
    valid_after: int = column(BigInteger)
    valid_before: int = column(BigInteger)
    payment_identifier: str | None = column(Text, null=True)
    submitter: str = column(Text)
    handed_over: int = column(Integer, default="0")
    state: str = column(Text)
    reason: str | None = column(Text, null=True)
    from_block: int = column(BigInteger)
    transaction_hash: str | None = column(Text, null=True)
    log_index: int | None = column(Integer, null=True)
    block_number: int | None = column(BigInteger, null=True)
    block_hash: str | None = column(Text, null=True)
    paid_at: datetime | None = time(null=True)
    decision: str | None = column(Text, null=True)
    reorganizations: int = column(Integer, default="0")
    final: bool = column(Boolean, default="false")
    tries: int = column(Integer, default="0")
    next_try_at: datetime = time()
    created_at: datetime = time()
    updated_at: datetime = time()

    def __repr__(self) -> str:
        return f"Settlement({self.id}, {self.state})"


class GasPurpose(enum.StrEnum):
    """What a transaction of the gas wallet is for. A `clearing` one only uses up its nonce."""

    SETTLEMENT = "settlement"
    CLEARING = "clearing"


class GasTransaction(SQLModel, table=True):
    """A transaction of the gas wallet, signed and stored before it was sent anywhere.

    `by_contract`: the payer has code, which runs in it.

    `refused_at`: the node certainly did not take it, and nobody was ever given it. `cost_wei` is known once it is in a
    block; `worst_cost_wei` is what it may cost at most.
    """

    __tablename__ = "gas_transactions"
    __table_args__: ClassVar[Any] = (
        ForeignKeyConstraint(
            ["organization_id", "settlement_id"],
            ["billing.settlements.organization_id", "billing.settlements.id"],
            name="transaction_of_a_settlement",
        ),
        CheckConstraint(one_of("purpose", list(GasPurpose)), name="purpose_is_known"),
        Index("transactions_of_settlement", "organization_id", "settlement_id"),
        Index("transactions_of_wallet", "network", "wallet", "nonce"),
        Index("gas_of_the_hour", "network", "wallet", "created_at"),
        Index(
            "gas_to_book",
            "network",
            "wallet",
            "nonce",
            postgresql_where=text("booked_at IS NULL"),
        ),
        {"schema": SCHEMA},
    )
    hash: str = column(Text, key=True)
    network: str = column(Text)
    wallet: str = column(Text)
    nonce: int = column(BigInteger)
    organization_id: UUID = column(Uuid)
    settlement_id: UUID = column(Uuid)
    purpose: str = column(Text)
    by_contract: bool = column(Boolean)
    raw: bytes = column(LargeBinary)
    gas_limit: int = column(BigInteger)
    max_fee_wei: int = column(BigInteger)
    tip_wei: int = column(BigInteger)
    worst_cost_wei: int = column(BigInteger)
    sent_at: datetime | None = time(null=True)
    refused_at: datetime | None = time(null=True)
    block_number: int | None = column(BigInteger, null=True)
    cost_wei: int | None = column(BigInteger, null=True)
    booked_at: datetime | None = time(null=True)
    created_at: datetime = time()

    def __repr__(self) -> str:
        return f"GasTransaction({self.hash})"


class GasWallet(SQLModel, table=True):
    """The account that pays for gas. Its row lock is what keeps its nonces in order across all processes.

    One nonce is in use at a time: while `settlement_id` is set, transactions with the nonce `next_nonce` may be under
    way for it, and nobody signs another. `unbooked_wei` is what gas has cost below the gwei that was booked last.
    """

    __tablename__ = "gas_wallets"
    __table_args__: ClassVar[Any] = ({"schema": SCHEMA},)
    network: str = column(Text, key=True)
    address: str = column(Text, key=True)
    next_nonce: int = column(BigInteger)
    organization_id: UUID | None = column(Uuid, null=True)
    settlement_id: UUID | None = column(Uuid, null=True)
    unbooked_wei: int = column(BigInteger, default="0")
    updated_at: datetime = time()


class PayerWallet(SQLModel, table=True):
    """The agent that was made for a wallet when it first paid without an account, or that it was linked to: where its
    payments go, and who is given a new token when the wallet signs in. It never changes.

    `founded`: the organization was made for this wallet's payment, so its first token is with whoever presented that.
    `signed_in_at` is when the wallet first signed in, by which that token ended (`billing.founding`).
    """

    __tablename__ = "payer_wallets"
    __table_args__: ClassVar[Any] = (
        ForeignKeyConstraint(
            ["organization_id", "agent_id"],
            ["billing.agents.organization_id", "billing.agents.id"],
            name="wallet_of_an_agent",
        ),
        Index("one_founding_wallet", "organization_id", unique=True, postgresql_where=text("founded")),
        {"schema": SCHEMA},
    )
    network: str = column(Text, key=True)
    address: str = column(Text, key=True)
    organization_id: UUID = column(Uuid)
    agent_id: UUID = column(Uuid)
    founded: bool = column(Boolean)
    signed_in_at: datetime | None = time(null=True)
    created_at: datetime = time()


class SignInChallenge(SQLModel, table=True):
    """A nonce that a wallet may sign in with, once. Those that have expired are deleted."""

    __tablename__ = "sign_in_challenges"
    __table_args__: ClassVar[Any] = (
        Index("challenges_by_end", "expires_at"),
        {"schema": SCHEMA},
    )
    nonce: str = column(Text, key=True)
    created_at: datetime = time()
    expires_at: datetime = time()
    used_at: datetime | None = time(null=True)

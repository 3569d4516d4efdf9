"""Every setting, read from the environment here and nowhere else. All begin with `PURSER_`.

With no settings at all the service runs on an embedded PostgreSQL below `data_dir` and the sandbox; with database URLs
and Stripe keys it is production. `docs/settings.md` lists them; a test compares.
"""

from __future__ import annotations

from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from billing.packs import STANDARD_PACKS, Offer, Pack
from finance.receipt_signing import Keyring, public_key, signing_key
from rails.evm.networks import BASE, NETWORKS


class PackSetting(BaseModel, extra="forbid"):
    """A pack as it stands in `PURSER_PACKS`, a JSON list."""

    pack_id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    name: str = Field(min_length=1, max_length=80)
    credits: int = Field(gt=0, le=1_000_000)


PaymentMethodType = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        if name != "UTC":
            raise ValueError("is no time zone that this machine knows, such as Europe/Berlin") from None
    return name


TimeZone = Annotated[str, AfterValidator(_known_zone)]
_STANDARD = [PackSetting(pack_id=pack.pack_id, name=pack.name, credits=pack.credits) for pack in STANDARD_PACKS]


class Settings(BaseSettings):
    """What the environment says. Secrets never show in `repr`, logs or answers."""

    model_config = SettingsConfigDict(env_prefix="PURSER_", extra="ignore", hide_input_in_errors=True)

    data_dir: Path = Field(Path(".purser"), description="folder of the embedded database and the sandbox's state")
    database_url: SecretStr | None = Field(None, description="PostgreSQL for the run role; without it, embedded")
    migrate_url: SecretStr | None = Field(None, description="the same database for the role that migrates")

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8787, ge=1, le=65535, description="port to listen on")
    public_url: str | None = Field(
        None, description="how payers and agents reach the service; default http://host:port"
    )
    processes: int = Field(1, ge=1, le=64, description="server processes")
    worker: bool = Field(True, description="whether `serve` runs a worker inside")

    stripe_secret_key: SecretStr | None = Field(None, description="secret or restricted key; without it, the sandbox")
    stripe_webhook_secrets: Annotated[list[SecretStr], NoDecode] = Field(
        [], description="signing secrets of the webhook endpoint, separated by commas while one is rotated"
    )
    stripe_api_base: str | None = Field(None, description="another address of Stripe's API, as of a sandbox")
    stripe_checkout: bool = Field(True, description="whether cards by hand-off are offered")
    stripe_x402: bool = Field(True, description="whether USDC deposits are offered")
    checkout_payment_methods: Annotated[list[PaymentMethodType], NoDecode] = Field(
        ["card"], min_length=1, description="Stripe's words for what the hosted page offers, separated by commas"
    )
    checkout_promotion_codes: bool = Field(False, description="whether the hosted page takes promotion codes")
    checkout_tax: bool = Field(False, description="whether Stripe Tax adds tax on the hosted page")
    second_payment: Literal["keep", "refund"] = Field(
        "keep", description="what becomes of money that is paid for a paid quote; stands in each new quote"
    )
    stripe_crypto_partial: bool = Field(
        False, description="whether a deposit of another amount is taken (needs a newer preview version)"
    )
    stripe_crypto_version: str = Field("2026-05-27.preview", description="Stripe's preview API version for deposits")
    stripe_timeout_s: float = Field(20.0, gt=0, le=80, description="seconds to wait for Stripe")
    x402_network: str | None = Field(
        None, description="chain that wallets pay on (x402), as `eip155:8453`; without it, not offered"
    )
    x402_rpc_url: SecretStr | None = Field(None, description="a node of that chain; the URL may hold a key")
    x402_treasury: str | None = Field(
        None, pattern=r"^0x[0-9a-fA-F]{40}$", description="address that is paid; its key is never asked for"
    )
    x402_gas_key: SecretStr | None = Field(
        None, description="key of the wallet that pays gas; without it, a facilitator carries payments out"
    )
    x402_gas_key_file: Path | None = Field(None, description="file that holds that key, instead of the variable")
    x402_gas_gwei_per_hour: int = Field(
        2_000_000, ge=1, le=10**12, description="most that gas may cost in an hour, in gwei"
    )
    x402_gas_fee_gwei_max: float = Field(
        10, gt=0, le=10_000, description="most that is offered for a unit of gas, in gwei"
    )
    x402_gas_bump_after_s: float = Field(
        20, ge=1, le=3600, description="seconds that a transaction may wait before it is sent with higher fees"
    )
    x402_facilitator_url: SecretStr | None = Field(None, description="a facilitator, used where no gas key is given")
    x402_facilitator_token: SecretStr | None = Field(None, description="bearer token for the facilitator")
    x402_timeout_s: int = Field(300, ge=60, le=3600, description="seconds that a wallet's signature may be good for")
    x402_wait_s: float = Field(
        15, ge=0, le=60, description="seconds that a payer waits for the chain before being told to ask again"
    )
    x402_rpc_timeout_s: float = Field(10, gt=0, le=60, description="seconds to wait for an answer of the node")
    x402_finality: list[tuple[int | None, int | Literal["safe", "finalized"]]] | None = Field(
        None, description="when a payment counts, as JSON: up to so many USDC (null: any), blocks or a tag"
    )
    x402_deny_list: Path | None = Field(None, description="file with addresses that may not pay, one a line")
    local_chain: bool = Field(
        False, description="run a pretend chain to take x402 payments on; needs Node and npm the first time"
    )
    sandbox: bool = Field(False, description="use the pretend Stripe although a database is named")
    sandbox_port: int = Field(0, ge=0, le=65535, description="port of the sandbox; 0 takes a free one")
    sandbox_live_money: bool = Field(False, description="pretend `live_money`, for clients that hide other rails")

    packs: list[PackSetting] = Field(_STANDARD, min_length=1, max_length=50, description="what is sold, as JSON")
    default_pack_id: str = Field("starter-500", description="the pack that is suggested")
    custom_credits_min: int = Field(1, ge=1, description="fewest credits of a custom quote")
    custom_credits_max: int = Field(5000, ge=1, le=1_000_000, description="most credits of a custom quote")
    credits_expire_after_days: int | None = Field(None, ge=1, le=36500, description="life of bought credits, in days")
    quote_ttl_s: int = Field(3600, ge=60, le=604_800, description="seconds that a quote's price stands")
    attempt_ttl_s: int = Field(86_400, ge=3600, le=604_800, description="seconds that an attempt can be paid")
    checkout_session_ttl_s: int = Field(7200, ge=3600, le=86_000, description="seconds that one hosted page lives")

    time_zone: TimeZone = Field(
        "UTC", description="zone in which commands print times; the books' days are UTC, always"
    )
    price_list: Path | None = Field(
        None, description="file with what can be bought with credits (docs/price-list.md); without it, a built-in one"
    )
    account_map: Path | None = Field(
        None, description="file with the accounts and columns of an accounting package (docs/finance.md), for exports"
    )
    executor_url: str | None = Field(
        None, description="where jobs are carried out (docs/executor.md); without it, the sandbox's placeholder"
    )
    executor_secrets: Annotated[list[SecretStr], NoDecode] = Field(
        [], description="signing secrets shared with the executor (`whsec_…`), the newest first, separated by commas"
    )
    executor_timeout_s: float = Field(20, gt=0, le=50, description="seconds to wait for the executor's answer")
    jobs_per_day: int | None = Field(None, ge=1, description="jobs that an organization may order on a UTC day")
    jobs_open_max: int = Field(100, ge=1, le=100_000, description="jobs that an organization may have open at once")
    job_wait_s: float = Field(
        10, ge=0, le=55, description="seconds that an order waits for its job before it is told to ask again"
    )
    claim_sender_url: str | None = Field(
        None,
        description="what sends links to people (docs/claims.md); without it they stand in the log, or with a live key "
        "are not sent",
    )
    claim_sender_secrets: Annotated[list[SecretStr], NoDecode] = Field(
        [], description="signing secrets shared with that sender, separated by commas"
    )
    claim_link_ttl_s: int = Field(86_400, ge=300, le=604_800, description="seconds that such a link can be used")
    outbound_private: bool = Field(
        False, description="whether the product's servers may have private addresses and plain http"
    )
    outbound_timeout_s: float = Field(10, gt=0, le=30, description="seconds to wait for a receiver of webhooks")
    webhook_deliveries_kept_days: int = Field(
        14, ge=4, le=365, description="days for which webhooks that were sent can be looked at and replayed"
    )

    finance_second_approval_cents: int = Field(
        100_00, ge=0, description="adjustments above this need a second key holder, in cents (docs/finance.md)"
    )
    finance_bank_days: int = Field(
        5,
        ge=0,
        le=60,
        description="days after its own in which a payout or a treasury's trade must stand on the bank's statement",
    )
    receipt_key: SecretStr | None = Field(
        None, description="seed of the key that signs receipts, from `purser receipt make-key`; without it, unsigned"
    )
    receipt_keys_retired: Annotated[list[str], NoDecode] = Field(
        [], max_length=100, description="public keys that signed receipts before, in base64, separated by commas"
    )

    body_bytes_max: int = Field(65_536, ge=1024, description="largest body of an agent's request")
    webhook_bytes_max: int = Field(1_048_576, ge=1024, description="largest body of a webhook")
    signups_per_minute: int = Field(30, ge=1, description="sign-ups one address may make in a minute")
    payments_per_minute: int = Field(
        120, ge=1, description="requests to top-ups and their states that one address may make in a minute"
    )
    requests_per_minute: int = Field(
        120, ge=1, description="quotes, purchases and cancels one organization may ask for in a minute"
    )
    refusals_per_minute: int = Field(
        120, ge=1, description="refused spends of one agent in a minute, before it must wait"
    )
    trusted_proxies: Annotated[list[IPv4Network | IPv6Network], NoDecode] = Field(
        [], description="networks of proxies whose `X-Forwarded-For` is believed, separated by commas"
    )
    alert_letters_parked: int = Field(0, ge=0, description="alert when more letters than this are parked")
    alert_letters_wait_s: int = Field(300, ge=1, description="alert when a letter waits longer than this, in seconds")
    alert_unknown_s: int = Field(
        900, ge=1, description="alert when the outcome of a request is unknown for longer than this, in seconds"
    )
    alert_amounts_disagree: int = Field(0, ge=0, description="alert when more attempts than this wait for a person")
    alert_webhook_missed: int = Field(
        10, ge=0, description="alert when more letters in a row than this had to be fetched; 1000 or more: never"
    )
    alert_webhook_silence_s: int = Field(
        90_000, ge=60, description="alert when the webhook brings nothing for longer than this, in seconds"
    )
    alert_payments_unallocated: int = Field(0, ge=0, description="alert when more payments than this are unallocated")
    alert_credits_owed: int = Field(10_000, ge=0, description="alert when more credits than this are owed in all")
    alert_disputes_open: int = Field(0, ge=0, description="alert when more disputes than this are open")
    alert_watched_s: int = Field(
        1_209_600, ge=60, description="alert when a refund, charge or payout is not final for longer, in seconds"
    )
    alert_settlement_s: int = Field(
        3600, ge=60, description="alert when the chain has not decided of a wallet's payment for longer, in seconds"
    )
    alert_payments_held: int = Field(0, ge=0, description="alert when more payments than this wait for a decision")
    alert_payments_vanished: int = Field(0, ge=0, description="alert when more payments than this have vanished")
    alert_events_behind_s: int = Field(
        900, ge=60, description="alert when the list of events was not read for longer than this, in seconds"
    )
    alert_webhooks_wait_s: int = Field(
        3600, ge=60, description="alert when a webhook to the product waits longer than this, in seconds"
    )
    # A worker ends a job within a minute of its deadline, whatever its executor does: ten are an outage.
    alert_jobs_overdue_s: int = Field(
        600, ge=60, description="alert when a job is still open for longer than this after its deadline, in seconds"
    )
    # A day is recognized minutes after its end. Two days later it is no restart that was in the way, and there is time
    # yet to mend it before a month is closed.
    alert_revenue_behind_s: int = Field(
        172_800, ge=3600, description="alert when a day's revenue is not recognized for longer after it, in seconds"
    )
    # What is only late comes by itself within days: a bank is given five of them (`finance_bank_days`). After a week it
    # needs a person, and a month cannot be closed before that.
    alert_exceptions_wait_s: int = Field(
        604_800, ge=3600, description="alert when nobody acknowledges an exception for longer than this, in seconds"
    )
    alert_again_s: int = Field(3600, ge=60, description="seconds after which an alert that lasts is said again")
    events_every_s: float = Field(
        60, ge=0, le=3600, description="seconds between two looks into Stripe's list of events; 0 never looks"
    )
    look_again_after_s: int = Field(
        600, ge=10, le=86_400, description="seconds after which an open attempt is read again at Stripe"
    )
    log_format: Literal["console", "json"] = Field("console", description="how log lines look")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="what is logged")

    @field_validator("x402_network", "x402_treasury", "executor_url", "claim_sender_url", mode="before")
    @classmethod
    def _unset_when_blank(cls, value: Any) -> Any:
        return (value.strip() or None) if isinstance(value, str) else value

    @field_validator(
        "stripe_secret_key",
        "x402_gas_key",
        "x402_rpc_url",
        "x402_facilitator_url",
        "x402_facilitator_token",
        "receipt_key",
        mode="after",
    )
    @classmethod
    def _none_when_blank(cls, value: SecretStr | None) -> SecretStr | None:
        return value if value is not None and value.get_secret_value().strip() else None

    @field_validator(
        "stripe_webhook_secrets",
        "trusted_proxies",
        "checkout_payment_methods",
        "executor_secrets",
        "claim_sender_secrets",
        "receipt_keys_retired",
        mode="before",
    )
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("receipt_key", mode="after")
    @classmethod
    def _is_seed(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            signing_key(value.get_secret_value())
        return value

    @field_validator("receipt_keys_retired", mode="after")
    @classmethod
    def _are_public_keys(cls, value: list[str]) -> list[str]:
        return [public_key(one).text for one in value]

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.default_pack_id not in {pack.pack_id for pack in self.packs}:
            raise ValueError("PURSER_DEFAULT_PACK_ID must name one of PURSER_PACKS")
        if self.custom_credits_min > self.custom_credits_max:
            raise ValueError("PURSER_CUSTOM_CREDITS_MIN must not be above PURSER_CUSTOM_CREDITS_MAX")
        why_not = self._x402_unusable() if self.x402_network is not None else None
        if self.local_chain:
            own = (self.x402_network, self.x402_gas_key, self.x402_gas_key_file, self.x402_facilitator_url)
            if any(one is not None for one in (*own, self.stripe_secret_key)):
                why_not = (
                    "PURSER_LOCAL_CHAIN goes with the sandbox alone: unset PURSER_X402_… and PURSER_STRIPE_SECRET_KEY"
                )
        for url, secrets, name in (
            (self.executor_url, self.executor_secrets, "PURSER_EXECUTOR"),
            (self.claim_sender_url, self.claim_sender_secrets, "PURSER_CLAIM_SENDER"),
        ):
            if (url is not None) != bool(secrets):
                why_not = f"{name}_URL and {name}_SECRETS go together"
        if why_not is not None:
            raise ValueError(why_not)
        return self

    def _x402_unusable(self) -> str | None:
        """Why payments on the named chain cannot be taken with what else is set; none when they can."""
        if self.x402_network not in NETWORKS:
            return f"PURSER_X402_NETWORK must be one of {', '.join(NETWORKS)}"
        if self.x402_treasury is None:
            return "PURSER_X402_NETWORK needs PURSER_X402_TREASURY, the address that is paid"
        if self.x402_gas_key is not None and self.x402_gas_key_file is not None:
            return "PURSER_X402_GAS_KEY and PURSER_X402_GAS_KEY_FILE are both set; keep one of them"
        has_key = self.x402_gas_key is not None or self.x402_gas_key_file is not None
        if not has_key and self.x402_facilitator_url is None:
            return "PURSER_X402_NETWORK needs PURSER_X402_GAS_KEY, its file, or PURSER_X402_FACILITATOR_URL"
        if has_key and self.x402_facilitator_url is not None:
            return "PURSER_X402_GAS_KEY and PURSER_X402_FACILITATOR_URL are both set; keep one of them"
        if has_key and self.x402_rpc_url is None:
            return "PURSER_X402_GAS_KEY needs PURSER_X402_RPC_URL, a node of the chain"
        if self.stripe_secret_key is not None and self.livemode is not (self.x402_network == BASE.caip2):
            return "PURSER_X402_NETWORK and PURSER_STRIPE_SECRET_KEY disagree on whether payments are real"
        return None

    @property
    def url(self) -> str:
        """The public address, without a slash at the end."""
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")

    @property
    def livemode(self) -> bool:
        """Whether the Stripe key moves real money; without one, whether the chain's money is real."""
        if self.stripe_secret_key is None:
            return self.x402_network == BASE.caip2
        return self.stripe_secret_key.get_secret_value().startswith(("sk_live_", "rk_live_"))

    def receipt_keys(self) -> Keyring:
        """What receipts are signed with, and checked."""
        seed = self.receipt_key
        return Keyring(
            signing_key(seed.get_secret_value()) if seed is not None else None,
            tuple(public_key(one) for one in self.receipt_keys_retired),
        )

    def offer(self) -> Offer:
        """What is sold, for billing."""
        return Offer(
            packs=tuple(Pack(pack.pack_id, pack.name, pack.credits) for pack in self.packs),
            default_pack_id=self.default_pack_id,
            custom_credits_min=self.custom_credits_min,
            custom_credits_max=self.custom_credits_max,
            credits_expire_after_days=self.credits_expire_after_days,
            quote_ttl=timedelta(seconds=self.quote_ttl_s),
            attempt_ttl=timedelta(seconds=self.attempt_ttl_s),
            checkout_session_ttl=timedelta(seconds=self.checkout_session_ttl_s),
            refund_second_payments=self.second_payment == "refund",
        )

"""The commands about receipts: show one, check one without asking anybody, and the keys that they are signed with."""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.markup import escape

from api.command_line.attached import DataDir, in_house
from api.command_line.console import console, visible
from api.command_line.tables import parse
from api.http.views import receipts as views
from api.reasons import CannotGoOn, read_settings
from api.running.embedding import with_receipt_key
from api.wiring import House
from billing.database import snapshot
from finance import receipt_signing, receipts
from finance.receipt_signing import DOCUMENT_BYTES_MAX, SEED_BYTES, Keyring, PublicKey, SigningKey, Unverified

KEYS_FILE_BYTES_MAX: Final = 1_048_576

receipt_app = typer.Typer(name="receipt", help="Receipts, their signatures and keys.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Make the commands known to `purser`."""
    app.add_typer(receipt_app)


@receipt_app.command("show")
def show(receipt: str, data_dir: DataDir = None) -> None:
    """Print a receipt with its signature, as `purser receipt verify` reads it."""
    receipt_id = parse(receipts.PREFIX, receipt, "a receipt")

    async def found(house: House) -> dict[str, Any]:
        async with snapshot(house.sessions) as session:
            whose = await receipts.organization_of(session, receipt_id)
            stated = await receipts.statement(session, whose, receipt_id)
        return receipt_signing.signed(stated, house.receipt_keys.signing)

    typer.echo(json.dumps(in_house(data_dir, found), indent=2))


@receipt_app.command("verify")
def verify(
    file: Annotated[Path, typer.Argument(help="A receipt as JSON; - reads it from standard input.", allow_dash=True)],
    key: Annotated[list[str] | None, typer.Option(help="A public key in base64; may be given often.")] = None,
    keys: Annotated[Path | None, typer.Option(help="What GET /v1/receipt-keys has answered.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Check that a receipt is as it was signed. Asks neither a database nor a network.

    Without a key, those of the settings are taken.
    """
    text = _read(file, DOCUMENT_BYTES_MAX)
    trusted = _given(key or [], keys) if key or keys else list(_keyring(data_dir).public)
    if not trusted:
        raise CannotGoOn("No key to check it with: give --key or --keys, or set PURSER_RECEIPT_KEY.", exit_code=2)
    try:
        stated = receipt_signing.verified(text, trusted)
    except Unverified as reason:
        raise CannotGoOn(f"This receipt does not hold: {visible(str(reason))}.") from None
    journal = stated["journal"]
    out = console()
    out.print(f"[green]OK[/] {escape(visible(stated['receipt_id']))} is as it was signed: {escape(_told(stated))}.")
    head = f"{stated['organization_id']}={journal['head']}@{journal['seq']}"
    out.print(f"   Its book agrees when this does: purser verify --head {escape(visible(head))}", soft_wrap=True)


@receipt_app.command("keys")
def print_keys(data_dir: DataDir = None) -> None:
    """Print the public keys of the settings, as `GET /v1/receipt-keys` answers them."""
    typer.echo(json.dumps(views.keys(_keyring(data_dir)), indent=2))


@receipt_app.command("make-key")
def make_key() -> None:
    """Make a key and print it, this once: the seed for PURSER_RECEIPT_KEY, and its public key."""
    made = SigningKey(secrets.token_bytes(SEED_BYTES))
    typer.echo(f"PURSER_RECEIPT_KEY={made.seed.hex()}")
    typer.echo(f"public key {made.public.text}, named {made.public.key_id}", err=True)


def _keyring(data_dir: Path | None) -> Keyring:
    return with_receipt_key(read_settings(data_dir=data_dir)).receipt_keys()


def _told(stated: dict[str, Any]) -> str:
    if stated["kind"] == "job":
        return visible(f"{stated['credits']} credits charged on {stated['charged_at']}")
    cents, paid = stated["amount_cents"], f"{stated['currency']} for {stated['credits']} credits"
    test = "" if stated["live_money"] else ", in test money"
    return visible(f"{cents // 100}.{cents % 100:02} {paid}, paid on {stated['settled_at']}{test}")


def _given(texts: list[str], file: Path | None) -> list[PublicKey]:
    """The keys that were named, and those of a file. Raises `CannotGoOn`."""
    try:
        listed = [*texts, *(_listed(_read(file, KEYS_FILE_BYTES_MAX)) if file is not None else [])]
        return [receipt_signing.public_key(one) for one in listed]
    except ValueError as error:
        raise CannotGoOn(f"A public key {error}.", exit_code=2) from None


def _listed(text: bytes) -> list[str]:
    try:
        found = json.loads(text)
        return [str(one["public_key"]) for one in found.get("data", found)["keys"]]
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        raise CannotGoOn("--keys names no file with what GET /v1/receipt-keys answers.", exit_code=2) from None


def _read(file: Path, bytes_max: int) -> bytes:
    """A file's content, or one byte more than `bytes_max` of it."""
    if str(file) == "-":
        return sys.stdin.buffer.read(bytes_max + 1)
    with file.open("rb") as opened:
        return opened.read(bytes_max + 1)

"""Which parameters a route knows, and their reading: unknown ones are refused, as Stripe refuses them.

`known_parameters.json` was read out of stripe 16.1.0's own parameter classes (`tests/sandbox/known_parameters.py`
makes it and a test compares it), so "known" means known to the pinned version `2026-10-28.endive`. What only a
`.preview` version knows is laid over it here (https://docs.stripe.com/payments/deposit-mode-stablecoin-payments).
Error codes: https://docs.stripe.com/error-codes.
"""

import copy
import json
import re
from pathlib import Path
from typing import Any

from sandbox import errors

VALUE_LENGTH_MAX = 5000
LIST_LENGTH_MAX = 100
REMOVED_IN_PREVIEW = "2026-08-26"
"""From this preview version on `payment_method_types` cannot be written
(https://docs.stripe.com/changelog/dahlia/2026-08-26/removes-payment-method-types-parameter-from-payment-intents-setup-intents)."""

_KNOWN: dict[str, Any] = json.loads((Path(__file__).parent / "known_parameters.json").read_text("utf-8"))
_KNOWN["payment_intents.simulate_crypto_deposit"] = {
    "transaction_hash!": "string",
    "network!": ["enum", ["base"]],
    "token_currency!": ["enum", ["usdc"]],
    "buyer_wallet": "string",
    "expand": ["list", "string"],
}

_NETWORKS = ["enum", ["base", "ethereum", "polygon", "solana", "tempo"]]
_PREVIEW_CRYPTO = {
    "mode": ["enum", ["default", "deposit", "transaction_verification"]],
    "deposit_options": {"networks!": ["list", _NETWORKS], "static_address": "boolean"},
    "transaction_verification_options": {"network!": _NETWORKS, "transaction_hash!": "string"},
    "amount_reconciliation": {"type!": ["enum", ["accept_partial_funding", "exact"]]},
}
_REFUSE_TYPES = ("checkout.sessions.create", "payment_intents.create")


def read(route: str, raw: dict[str, Any], version: str) -> dict[str, Any]:
    """The typed parameters of one request; raises `Refusal` for the first that is unknown, missing or malformed."""
    tree = _tree(route, version)
    if "payment_method_types" in raw and "payment_method_types" not in tree and route in _REFUSE_TYPES:
        raise errors.invalid(
            "payment_method_types",
            "The payment_method_types parameter is no longer supported. Use dynamic payment methods, "
            "allowed_payment_method_types or excluded_payment_method_types.",
            "payment_method_types_no_longer_supported",
        )
    found = _read_group(tree, raw, "")
    _check_metadata(found)
    return found


def is_preview(version: str) -> bool:
    """Whether a `Stripe-Version` opens preview features (https://docs.stripe.com/api/versioning)."""
    return version.endswith(".preview")


def _tree(route: str, version: str) -> dict[str, Any]:
    tree: dict[str, Any] = _KNOWN[route]
    if route == "payment_intents.create" and is_preview(version):
        tree = copy.deepcopy(tree)
        tree["payment_method_options"]["crypto"] |= _PREVIEW_CRYPTO
        if version[:10] < REMOVED_IN_PREVIEW:
            tree["payment_method_types"] = ["list", "string"]
    return tree


def _read_group(tree: dict[str, Any], raw: dict[str, Any], prefix: str) -> dict[str, Any]:
    known = {name.removesuffix("!"): inner for name, inner in tree.items()}
    unknown = [_name(prefix, name) for name in raw if name not in known]
    if unknown:
        raise errors.unknown_parameter(*unknown)
    for name in tree:
        if name.endswith("!") and name[:-1] not in raw:
            raise errors.missing_parameter(_name(prefix, name[:-1]))
    return {name: _read_value(known[name], value, _name(prefix, name)) for name, value in raw.items()}


def _read_value(tree: Any, raw: Any, name: str) -> Any:
    if isinstance(tree, dict):
        return _read_group(tree, _group(raw, name), name)
    if tree == "map":
        return {} if raw == "" else dict(_group(raw, name))
    if tree[0] == "list":
        return [_read_value(tree[1], value, f"{name}[{at}]") for at, value in enumerate(_items(raw, name))]
    if tree[0] == "either":
        return _read_value(tree[1] if isinstance(raw, dict) else tree[2], raw, name)
    if not isinstance(raw, str):
        raise errors.invalid(name, f"Invalid {tree if isinstance(tree, str) else 'string'}: {name} is a group.")
    return _read_enum(tree[1], raw, name) if tree[0] == "enum" else _read_scalar(tree, raw, name)


def _read_scalar(kind: str, raw: str, name: str) -> int | bool | str:
    if len(raw) > VALUE_LENGTH_MAX:
        raise errors.invalid(name, f"Invalid string: {name} is longer than {VALUE_LENGTH_MAX} characters.")
    if kind == "integer":
        if re.fullmatch(r"-?[0-9]{1,15}", raw) is None:
            raise errors.invalid(name, f"Invalid integer: {raw}", "parameter_invalid_integer")
        return int(raw)
    if kind == "boolean":
        if raw not in ("true", "false"):
            raise errors.invalid(name, f"Invalid boolean: {raw}")
        return raw == "true"
    if raw == "":
        message = f"You passed an empty string for '{name}'. We assume empty values are an attempt to unset a field."
        raise errors.invalid(name, message, "parameter_invalid_empty")
    return raw


def _read_enum(values: list[str], raw: str, name: str) -> str:
    if raw not in values:
        raise errors.invalid(name, f"Invalid {name}: must be one of {', '.join(values)}")
    return raw


def _group(raw: Any, name: str) -> dict[str, Any]:
    if raw == "":
        return {}
    if not isinstance(raw, dict):
        raise errors.invalid(name, f"Invalid object: {name} must be a group of parameters.")
    return raw


def _items(raw: Any, name: str) -> list[Any]:
    group = _group(raw, name)
    if not all(re.fullmatch(r"[0-9]{1,4}", at) for at in group):
        raise errors.invalid(name, f"Invalid array: {name} must be a list.")
    if len(group) > LIST_LENGTH_MAX:
        raise errors.invalid(name, f"Array {name} exceeded maximum {LIST_LENGTH_MAX} allowed elements.")
    return [group[at] for at in sorted(group, key=int)]


def _check_metadata(found: dict[str, Any], prefix: str = "") -> None:
    """https://docs.stripe.com/api/metadata: 50 keys, names of 40 characters, values of 500."""
    for name, value in found.items():
        if name == "metadata":
            _check_pairs(value, _name(prefix, name))
        elif isinstance(value, dict):
            _check_metadata(value, _name(prefix, name))


def _check_pairs(pairs: dict[str, Any], name: str) -> None:
    if len(pairs) > 50:
        raise errors.invalid(name, "You can have up to 50 metadata keys.")
    for key, value in pairs.items():
        if len(key) > 40:
            message = f"Metadata keys must be at most 40 characters long; {key[:40]}… is {len(key)}."
            raise errors.invalid(name, message)
        if not isinstance(value, str) or len(value) > 500:
            raise errors.invalid(f"{name}[{key}]", "Metadata values must be strings of at most 500 characters.")


def _name(prefix: str, name: str) -> str:
    return f"{prefix}[{name}]" if prefix else name

"""The account maps that exports are written with: the two that are ready, and one of the operator's own."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from api.reasons import UNUSABLE_SETTINGS, CannotGoOn
from finance.exporting import account_maps
from finance.exporting.account_maps import AccountMap, Unusable
from finance.exporting.files import OWN_MAP, READY_MAPS, ready_map


def own(path: Path | None) -> AccountMap | None:
    """The map in a file. Raises `CannotGoOn` with the position of what is wrong in it."""
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            return account_maps.read(file.read(account_maps.BYTES_MAX + 1), name=str(path))
    except (OSError, Unusable) as error:
        raise CannotGoOn(f"No account map that can be used:\n{error}", exit_code=UNUSABLE_SETTINGS) from None


def all_maps(of_settings: AccountMap | None) -> Mapping[str, AccountMap]:
    """Every map by name: those that are ready, and the operator's own where there is one."""
    return {**_ready(), **({OWN_MAP: of_settings} if of_settings is not None else {})}


def one_map(named: str) -> Mapping[str, AccountMap]:
    """The map that a command names: one that is ready, or a file. Raises `CannotGoOn`."""
    if named in READY_MAPS:
        return {named: _ready()[named]}
    found = own(Path(named))
    return {OWN_MAP: found} if found is not None else {}


@cache
def _ready() -> Mapping[str, AccountMap]:
    return {name: ready_map(name) for name in READY_MAPS}

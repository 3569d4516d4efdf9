"""Why a command cannot go on, in sentences for people: what is wrong and how to mend it, never a secret's value."""

from __future__ import annotations

from typing import Any, Final

from pydantic import ValidationError
from pydantic_settings import SettingsError

from api.settings import Settings

UNUSABLE_SETTINGS: Final = 2
"""Exit status of a command whose settings are wrong, as for wrong options."""


class CannotGoOn(Exception):
    """The message is for people; `exit_code` is how the command ends."""

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def read_settings(**given: Any) -> Settings:
    """The settings of the environment; what is `given` and not none wins. Raises `CannotGoOn`, naming each variable."""
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        # Not str(error): it may quote what was set.
        lines = [_sentence(one["loc"], one["msg"]) for one in error.errors(include_input=False, include_url=False)]
        raise CannotGoOn("\n".join(lines), exit_code=UNUSABLE_SETTINGS) from None
    except SettingsError as error:
        variable = _variable_in(str(error))
        raise CannotGoOn(f"{variable} is not valid JSON; correct it.", exit_code=UNUSABLE_SETTINGS) from None


def _sentence(place: tuple[int | str, ...], message: str) -> str:
    if not place:
        return f"{message.removeprefix('Value error, ')}."
    inside = "".join(f", item {part + 1}" if isinstance(part, int) else f", {part}" for part in place[1:])
    return f"PURSER_{str(place[0]).upper()}{inside}: {message}."


def _variable_in(message: str) -> str:
    """The variable that pydantic-settings could not decode; it names the field in quotes."""
    parts = message.split('"')
    return f"PURSER_{parts[1].upper()}" if len(parts) > 2 else "A setting"


def unreachable(name: str, error: Exception) -> CannotGoOn:
    """The database of the variable `name` cannot be used. A driver's first line holds no password; its others may."""
    first = str(error).partition("\n")[0] or type(error).__name__
    return CannotGoOn(f"The database of {name} cannot be used: {first}. Start it, or correct {name}.")

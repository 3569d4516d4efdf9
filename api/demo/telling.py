"""How the demo tells a step: its number, what happened, how long it took. With a terminal, it shows that it works."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import httpx
from rich.markup import escape

from api.command_line.console import console

TITLE_WIDTH: Final = 58
NAME_WIDTH: Final = 24
SHOWN_CHARACTERS: Final = 12


class Failed(Exception):
    """A step did not find what it should; the message says what it found."""


class Step:
    """What one step has to say besides its title."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, name: str, value: object) -> None:
        """One named value below the title."""
        self.lines.append(f"{name:<{NAME_WIDTH}} [cyan]{escape(str(value))}[/]")

    def show(self, text: str) -> None:
        """What a command printed, as it is."""
        self.lines += [escape(line.rstrip()) for line in text.splitlines()]


class Teller:
    """Prints the steps as they happen."""

    def __init__(self, *, steps: int) -> None:
        self._out = console()
        self._steps = steps
        self._number = 0

    def opening(self, *, with_chain: bool) -> None:
        """What is about to be seen."""
        ways, chain = ("three ways", ", a chain of its own") if with_chain else ("two ways", "")
        self._out.print(f"[bold]Purser, a credits and payments ledger for agents.[/] Agents, and {ways} to pay.")
        self._out.print(
            f"Everything below is real HTTP, a real PostgreSQL{chain} and a pretend Stripe: no real money.\n"
        )

    def not_run(self, what: str, reason: str) -> None:
        """What is left out, and why."""
        self._out.print(f"[yellow]NOT RUN[/]  {escape(what)}: {escape(reason)}", soft_wrap=True)

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Tell one step. Raises `Failed` for what went wrong in it."""
        self._number += 1
        step, began = Step(), time.monotonic()
        label = f"{self._number:>2}/{self._steps}  {title}"
        try:
            if self._out.is_terminal:
                with self._out.status(escape(label)):
                    yield step
            else:
                yield step
        except httpx.HTTPError as error:
            raise Failed(f"step {self._number}, {title}: {type(error).__name__}: {error}") from error
        except (KeyError, IndexError, TypeError) as error:
            raise Failed(f"step {self._number}, {title}: the answer lacks {error}") from error
        except Failed as error:
            raise Failed(f"step {self._number}, {title}: {error}") from error
        took = f"{time.monotonic() - began:.2f} s"
        self._out.print(f"[green]✓[/] [bold]{escape(f'{label:<{TITLE_WIDTH}}')}[/] [dim]{took:>8}[/]")
        for line in step.lines:
            self._out.print(f"         {line}", soft_wrap=True)

    def failure(self, reason: str, log: Sequence[str]) -> None:
        """What went wrong, and the end of the service's log."""
        self._out.print(f"\n[bold red]✗ {escape(reason)}[/]\n\nThe end of the service's log:", soft_wrap=True)
        for line in log:
            self._out.print(f"  {escape(line)}", soft_wrap=True)

    def closing(self, took_s: float) -> None:
        """What to do next."""
        self._out.print(f"\n[bold green]Done in {took_s:.1f} s.[/] The service and its data are gone again.\n")
        self._out.print("Next:")
        for command, what in (
            ("make serve", "the same service, kept in ./.purser, until you press Ctrl-C; ARGS=--local-chain"),
            ("purser check", "whether settings, database, roles and rails are as they should be"),
            ("purser letters", "every webhook that came in, and what became of it"),
            ("purser books org_…", "an organization's books; `purser verify` rebuilds all of them"),
            ("make test", "the tests, among them all guarantees in README.md"),
        ):
            self._out.print(f"  [bold]{command:<20}[/] {what}")
        self._out.print("(purser is .venv/bin/purser, or .venv/bin/python -m api.cli)")


def short(secret: str) -> str:
    """The beginning of a token, which is enough to recognize it."""
    return f"{secret[:SHOWN_CHARACTERS]}…"

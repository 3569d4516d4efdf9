"""The page of an attempt that a wallet pays by its signature: how it stands, and nothing else."""

from __future__ import annotations

import re

import pytest

from api.pages import page, screens
from billing.attempts import AttemptState
from ledger.ids import external
from tests.browser.test_pages_render import LATER, NOW, RECEIPT, SCREENS, SIGNS, WALLET, Outline, saying, visit

BY_SIGNATURE = [name for name, screen in SCREENS.items() if screen.method_id == WALLET]


@pytest.mark.parametrize("name", BY_SIGNATURE)
def test_a_page_of_a_wallets_signature_shows_how_it_stands_and_nothing_else(name: str) -> None:
    """Whoever presents a payment that is public on the chain is told the attempt's id, which is all of the link."""
    outline = Outline(page.of_screen(SCREENS[name]))
    shown_too_much = ["500", "5.00", "4.86", "2026", "USDC", external("receipt", RECEIPT), "paused", "held"]
    assert [told for told in shown_too_much if told in outline.text] == []
    version = outline.all("main")[0]["data-version"]
    assert not re.search(r"\d", version or ""), "nor when"


def test_the_version_of_a_wallets_payment_changes_with_what_its_page_shows() -> None:
    moving = visit(AttemptState.PROCESSING, method=WALLET)
    versions = [
        screens.version(SIGNS, now=NOW),
        screens.version(SIGNS, now=LATER),
        screens.version(moving, now=NOW),
        screens.version(saying(visit(AttemptState.PROCESSING, method=WALLET), "It is held."), now=NOW),
        screens.version(visit(AttemptState.SUCCEEDED, method=WALLET), now=NOW),
    ]
    assert len(set(versions)) == len(versions)

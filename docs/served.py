"""What the service serves to agents, drawn as it would be at `URL` with every way to pay open. Golden files hold it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from litestar import Litestar
from pydantic import SecretStr

from api.documents.client_commands import client_commands
from api.documents.skill import skill
from api.documents.summary import summary
from api.http import openapi
from api.http.app import app_for
from api.http.routes import document
from api.http.routes.health import VERSION
from api.http.views import discovery
from api.settings import Settings
from api.wiring import House, build
from billing.packs import METHODS, NativeTerms
from rails.evm.networks import BASE

URL: Final = "https://purser.example"
FOLDER: Final = Path(__file__).parents[1] / "tests" / "golden"
_TERMS: Final = NativeTerms(BASE.caip2, BASE.token_address, "0x00000000000000000000000000000000c0ffee00", 300)


def application() -> tuple[House, Litestar]:
    """A house at `URL` and its application. Opens no connection."""
    settings = Settings(
        database_url=SecretStr("postgresql://nobody@127.0.0.1:9/none"),
        stripe_secret_key=SecretStr("sk_test_of_the_documents"),
        public_url=URL,
    )
    house = build(settings)
    return house, app_for(house)


def documents() -> dict[str, str]:
    """By the name of its golden file, each document."""
    house, app = application()
    here = replace(
        document.particulars(app.routes, house),
        reasons=dict.fromkeys(METHODS),
        live_money=frozenset(METHODS),
        native=_TERMS,
    )
    described = openapi.document(
        app.routes, url=URL, version=VERSION, paid=discovery.paid_operations(here.offer, is_offered=True)
    )
    return {
        "llms.txt": summary(here),
        "skill.md": skill(here),
        "cli.md": client_commands(here),
        "openapi.json": _readable(described),
    }


def _readable(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"

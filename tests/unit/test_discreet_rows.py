"""What a row with secrets or personal data shows of itself, wherever it comes to be shown."""

from uuid import UUID

import pytest
from rich.pretty import pretty_repr
from sqlmodel import SQLModel

from billing.contact_tables import ClaimRequest, Feedback, Owner, OwnerSession
from billing.job_tables import Job
from billing.outbound_tables import WebhookDelivery, WebhookEndpoint
from billing.subscriptions.endpoints import NewSecret
from billing.tables import Agent
from ledger.columns import Discreet

ROWS = (Agent, ClaimRequest, Feedback, Job, Owner, OwnerSession, WebhookDelivery, WebhookEndpoint)
NOBODYS_BUSINESS = {"contact", "secret", "old_secret", "request", "said"}
ID = UUID("01a20016-a4d1-795b-aa08-4cf0a0e56998")
HIDDEN = "hidden"


def filled(row_class):
    """A row of which every column but its id holds something that must not be seen."""
    columns = row_class.__table__.columns.keys()
    assert len(columns) > 3
    return row_class(**{name: ID if name == "id" else f"{HIDDEN} {name}" for name in columns})


@pytest.mark.parametrize("row_class", ROWS)
def test_a_row_shows_its_id_and_nothing_else(row_class):
    row = filled(row_class)
    said = f"{row_class.__name__}(id={ID!r})"
    assert repr(row) == pretty_repr(row) == said
    assert [str(row), f"{row}", repr([row])] == [f"id={ID!r}", f"id={ID!r}", f"[{said}]"]
    assert repr(row_class()) == f"{row_class.__name__}(id=None)", "nothing is asked of a database to show a row"


def test_a_new_secret_shows_neither_itself_nor_those_of_its_endpoint():
    new = NewSecret(filled(WebhookEndpoint), f"{HIDDEN} secret")
    assert repr(new) == f"NewSecret(endpoint=WebhookEndpoint(id={ID!r}))" == str(new)


def test_whatever_table_holds_such_a_column_is_discreet():
    tables = {row.__name__: row for row in SQLModel.__subclasses__() if hasattr(row, "__table__")}
    assert {"Organization", "PaymentAttempt"} <= tables.keys()
    assert [name for name, row in tables.items() if NOBODYS_BUSINESS & set(row.__table__.columns.keys())] == []
    assert set(Discreet.__subclasses__()) == set(ROWS)

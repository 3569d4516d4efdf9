"""The pages of humans that own an organization, as HTML that needs no script. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from api.pages import owner_texts, page
from api.pages.markup import NOTHING, Markup, html, joined
from api.pages.moments import moment
from api.pages.texts import Words
from billing.claims import Opened
from billing.owning import DAYS_OF_JOBS, Estate, Ward
from billing.tables import Agent, Receipt
from ledger.ids import external
from ledger.statements import Balance

CAPS: Final = (
    ("per_spend", "Per spend"),
    ("per_hour", "Per hour"),
    ("per_day", "Per day"),
    ("per_month", "Per month"),
    ("total", "In total"),
)
"""The caps of an agent: their names in forms, and what they are called."""
NO_TOKEN: Final = "none"  # noqa: S105 - what a form says where there is none


@dataclass(frozen=True, slots=True)
class Forms:
    """What every form of a session carries: `token` shows that it is ours, `key` that it was sent once."""

    token: str = field(repr=False)
    key: str


@dataclass(frozen=True, slots=True)
class Shown:
    """One organization for its owner. `limit`: so many receipts fill a page; `done`: what was just done."""

    organization_id: UUID
    contact: str = field(repr=False)
    estate: Estate
    forms: Forms
    limit: int
    done: str | None


def of_claim(opened: Opened, *, sandbox: bool) -> str:
    """What the reader of a link is asked before it does anything."""
    may = html(
        """<ul class="plain"><li>You see what it paid for.</li><li>You limit or pause what its agents spend.</li>
<li>You give an agent a new token when it has lost its own.</li></ul>"""
    )
    body = html(
        """<dl class="facts"><dt>Organization</dt><dd><code id="organization">{organization}</code></dd>
<dt>You are</dt><dd id="contact">{contact}</dd><dt>Until</dt><dd>{until}</dd></dl>
{may}<form method="post"><button class="button" id="claim">{go}</button></form>""",
        organization=external("org", opened.organization_id),
        contact=opened.contact,
        until=moment(opened.expires_at),
        may=NOTHING if opened.claimed else may,
        go="Open" if opened.claimed else "Yes, it is mine",
    )
    return page.of_owner(owner_texts.RETURN if opened.claimed else owner_texts.CLAIM, body, sandbox=sandbox)


def of_sign_in(*, sandbox: bool) -> str:
    """Where an owner asks for a link."""
    body = html(
        """<form method="post"><label>E-mail address
<input name="contact" type="email" autocomplete="email" required maxlength="254"></label>
<button class="button" id="send">Send the link</button></form>"""
    )
    return page.of_owner(owner_texts.SIGN_IN, body, sandbox=sandbox)


def of_words(said: Words, *, sandbox: bool, back: bool = True) -> str:
    """A page that only says something, with a way back to the owner's own."""
    body = html('<p><a class="button" href="/owner">Go on</a></p>') if back else NOTHING
    return page.of_owner(said, body, sandbox=sandbox)


def of_new_token(agent: Agent, token: str, *, sandbox: bool) -> str:
    """A token, this once."""
    body = html(
        """<dl class="facts tall"><dt>Agent</dt><dd>{name}</dd><dt>Token</dt><dd><code id="token">{token}</code>
<button type="button" data-copy="token" aria-label="Copy the token" hidden>Copy</button></dd></dl>
<p class="warning" role="note">Who has it can spend what this agent may. Hand it to the agent's secret store, never
to a chat.</p><p><a class="button" href="/owner">I have it</a></p>""",
        name=agent.name,
        token=token,
    )
    return page.of_owner(owner_texts.NEW_TOKEN, body, sandbox=sandbox)


def of_organization(shown: Shown, *, sandbox: bool) -> str:
    """Everything that an owner sees and may do."""
    found = shown.estate
    said = owner_texts.DONE.get(shown.done or "")
    news = html('<p class="what" id="done" role="status">{said}</p>', said=said) if said else NOTHING
    body = joined(
        news,
        _facts(shown),
        *(_ward(ward, shown.forms) for ward in found.wards),
        _receipts(found.receipts, shown.limit),
        _others(shown),
        _form("/owner/end", shown.forms, NOTHING, html('<button id="end">Sign out</button>')),
    )
    return page.of_owner(owner_texts.OWNER, body, sandbox=sandbox)


def _facts(shown: Shown) -> Markup:
    found = shown.estate
    return html(
        """<dl class="facts"><dt>Organization</dt><dd><code id="organization">{organization}</code></dd>
<dt>You are</dt><dd id="contact">{contact}</dd><dt>Credits left</dt><dd id="left">{left}</dd>{rare}
<dt>Credits spent</dt><dd id="spent">{spent}</dd><dt>Jobs in {days} days</dt><dd id="jobs">{jobs}</dd></dl>""",
        organization=external("org", shown.organization_id),
        contact=shown.contact,
        left=f"{found.balance.spendable:,}",
        rare=_rare(found.balance),
        spent=f"{found.consumed:,}",
        days=str(DAYS_OF_JOBS.days),
        jobs=f"{found.jobs:,}",
    )


def _rare(balance: Balance) -> Markup:
    """What stands between the owner and its credits, where there is any."""
    amounts = (("Reserved", balance.held), ("Frozen", balance.frozen), ("Owed", balance.owed))
    rows = [html("<dt>{name}</dt><dd>{n}</dd>", name=name, n=f"{n:,}") for name, n in amounts if n]
    return joined(*rows)


def _ward(ward: Ward, forms: Forms) -> Markup:
    agent, paused = ward.agent, ward.caps is not None and ward.caps.paused
    agent_id = _hidden("agent_id", external("agt", agent.id))
    fields = [_cap(name, label, ward) for name, label in CAPS]
    caps = html(
        '<div class="fields">{fields}</div><button class="button">Set the caps</button>', fields=joined(*fields)
    )
    seen = _hidden("seen", external("tok", ward.token_id) if ward.token_id is not None else NO_TOKEN)
    limited = agent.limited_at is not None
    note = html('<p class="hint">{said}</p>', said=owner_texts.LIMITED_AGENT) if limited else NOTHING
    return html(
        """<section class="part" id="{id}"><h2>{name}{paused}</h2><p class="hint">{runtime} · <code>{id}</code></p>
{note}{caps}<div class="row">{turn}{token}</div></section>""",
        id=external("agt", agent.id),
        name=agent.name,
        paused=" (paused)" if paused else "",
        runtime=agent.runtime,
        note=note,
        caps=_form("/owner/caps", forms, agent_id, caps),
        turn=_turn(forms, agent_id, paused=paused, limited=limited),
        token=_form("/owner/token", forms, joined(agent_id, seen), html("<button>New token</button>")),
    )


def _turn(forms: Forms, agent_id: Markup, *, paused: bool, limited: bool) -> Markup:
    """The way into a pause, and out of it where no operator limits the agent."""
    if paused and limited:
        return NOTHING
    turn, label = ("resume", "Let it spend") if paused else ("pause", "Pause")
    return _form(f"/owner/{turn}", forms, agent_id, html("<button>{label}</button>", label=label))


def _cap(name: str, label: str, ward: Ward) -> Markup:
    limit = getattr(ward.caps, name) if ward.caps is not None else None
    return html(
        '<label>{label}<input name="{name}" inputmode="numeric" pattern="[0-9]*" maxlength="16" value="{value}"'
        ' placeholder="no limit"></label>',
        label=label,
        name=name,
        value="" if limit is None else str(limit),
    )


def _receipts(found: Sequence[Receipt], limit: int) -> Markup:
    """Of which there is one more than `limit` when there are more."""
    rows = [
        html(
            '<dt>{at}<br><a href="/owner/receipts/{id}"><code>{id}</code></a></dt>'
            "<dd>{total}<br>{credits} credits</dd>",
            at=moment(one.settled_at),
            id=external("receipt", one.id),
            total=page.dollars(one.total_cents),
            credits=f"{one.credits:,}",
        )
        for one in found[:limit]
    ]
    older = NOTHING
    if len(found) > limit:
        last = external("receipt", found[limit - 1].id)
        older = html(
            '<p><a id="older" href="/owner?cursor={last}&amp;limit={n}">Older</a></p>', last=last, n=str(limit)
        )
    listed = html('<dl class="facts" id="receipts">{rows}</dl>', rows=joined(*rows)) if rows else html("<p>None.</p>")
    return html('<section class="part"><h2>Payments</h2>{listed}{older}</section>', listed=listed, older=older)


def _others(shown: Shown) -> Markup:
    """The other organizations of the same contact, each with a way there."""
    ways = [
        _form(
            "/owner/switch",
            shown.forms,
            _hidden("organization_id", external("org", one.organization_id)),
            html("<button>{name}</button>", name=external("org", one.organization_id)),
        )
        for one in shown.estate.others
    ]
    return html('<section class="part"><h2>Also yours</h2>{ways}</section>', ways=joined(*ways)) if ways else NOTHING


def _form(action: str, forms: Forms, hidden: Markup, content: Markup) -> Markup:
    carried = joined(_hidden("form", forms.token), _hidden("key", forms.key), hidden)
    return html(
        '<form method="post" action="{action}">{carried}{content}</form>',
        action=action,
        carried=carried,
        content=content,
    )


def _hidden(name: str, value: str) -> Markup:
    return html('<input type="hidden" name="{name}" value="{value}">', name=name, value=value)

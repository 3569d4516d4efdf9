"""The pages of humans: `/claim/{link}`, where a link leads, and `/owner`, what its reader owns.

Who asks is shown by a cookie that no script can read and that no other site's page makes a browser send. A form counts
when the browser says that it came from one of our pages, and when it carries the token of its session. Links and
cookies stand in no line of the log: it names routes, never paths.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import structlog
from litestar import Response, get, post
from litestar.background_tasks import BackgroundTask
from litestar.enums import MediaType
from litestar.exceptions import HTTPException
from litestar.params import FromPath
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from api.http.context import AnyRequest, house_of
from api.http.fields import is_key
from api.http.fields_people import ClaimAsked, OwnerAsked
from api.http.links import post_of
from api.http.rate_limits import count_signup
from api.http.reading import query_of
from api.http.routes.people import cursor
from api.pages import owner_page, owner_texts, page, receipt_page, texts
from api.pages.owner_page import CAPS, NO_TOKEN, Forms, Shown
from api.pages.texts import Words
from api.wiring import House
from billing import caps, claims, owning
from billing.database import Sessions, snapshot
from billing.fresh import new_key
from billing.owning import SESSION_LIFETIME, Owned
from billing.refusals import Refusal, Refused
from finance import receipt_signing, receipts
from ledger import ids
from ledger.ids import external
from ledger.money import AMOUNT_MAX
from ledger.operations import Caps

log = structlog.get_logger()

FIELDS_MAX: Final = 20
"""Fields of a form."""
Page = Response[str]


def _refused(request: AnyRequest, error: Refused) -> Page:
    if error.refusal is Refusal.AUTH_REQUIRED:
        return _signed_out(request)
    said = owner_texts.of_refusal(error.refusal)
    return _said(request, said, status=error.refusal.rule.http_status)


def _misunderstood(request: AnyRequest, error: HTTPException) -> Page:
    return _said(request, owner_texts.FOREIGN_FORM, status=error.status_code)


def _unreachable(request: AnyRequest, error: Exception) -> Page:
    log.warning("page_unavailable", error=type(error).__name__)
    return _said(request, texts.UNAVAILABLE, status=503)


def _broken(request: AnyRequest, error: Exception) -> Page:
    log.error("page_failed", exc_info=error)
    return _said(request, texts.BROKEN, status=500)


_ANSWERS: Final[dict[Any, Any]] = {
    Refused: _refused,
    HTTPException: _misunderstood,
    SQLAlchemyError: _unreachable,
    OSError: _unreachable,
    Exception: _broken,
}


@get("/claim/{link:str}", exception_handlers=_ANSWERS, include_in_schema=False)
async def look(request: AnyRequest, link: FromPath[str]) -> Page:
    """Say what opening the link would do. Mail scanners come here too, so nothing changes."""
    house = house_of(request)
    try:
        async with snapshot(house.sessions) as session:
            found = await claims.opened(session, link, now=house.clock())
    except Refused as refused:
        return _unusable(request, refused)
    return _html(owner_page.of_claim(found, sandbox=not house.livemode))


@post("/claim/{link:str}", status_code=303, exception_handlers=_ANSWERS, include_in_schema=False)
async def claim(request: AnyRequest, link: FromPath[str]) -> Page:
    """Use the link, once: its reader owns the organization, and this browser has a session."""
    _require_ours(request)
    house = house_of(request)
    try:
        cookie = await claims.claim(house.sessions, link, now=house.clock())
    except Refused as refused:
        return _unusable(request, refused)
    return _seated(request, cookie, lasts=SESSION_LIFETIME)


@get("/owner/sign-in", exception_handlers=_ANSWERS, include_in_schema=False)
async def sign_in(request: AnyRequest) -> Page:
    """Where an owner asks for a link."""
    return _html(owner_page.of_sign_in(sandbox=not house_of(request).livemode))


@post("/owner/sign-in", status_code=200, exception_handlers=_ANSWERS, include_in_schema=False)
async def send_link(request: AnyRequest) -> Page:
    """Say the same to everybody. The rest is done behind the answer, so that its time tells nothing either."""
    _require_ours(request)
    count_signup(request)
    contact = _contact((await _form(request)).get("contact", ""))
    house = house_of(request)
    text = owner_page.of_words(owner_texts.SENT, sandbox=not house.livemode, back=False)
    behind = BackgroundTask(_send, house, contact) if contact is not None else None
    return Response(text, status_code=200, media_type=MediaType.HTML, headers=page.FORM_HEADERS, background=behind)


@get("/owner", exception_handlers=_ANSWERS, include_in_schema=False)
async def show(request: AnyRequest) -> Page:
    """The organization of this browser's session; `cursor` and `limit` turn the pages of its payments."""
    house, cookie = house_of(request), _given(request)
    asked = query_of(request, OwnerAsked)
    before = cursor("receipt", asked.cursor)
    async with snapshot(house.sessions) as session:
        owned = await owning.of_cookie(session, cookie, now=house.clock())
        found = await owning.estate(session, owned, before=before, limit=asked.limit + 1, now=house.clock())
    forms = Forms(owning.form_token(cookie), new_key("owner"))
    shown = Shown(owned.organization_id, owned.contact, found, forms, asked.limit, asked.done)
    return _html(owner_page.of_organization(shown, sandbox=not house.livemode))


@get("/owner/receipts/{receipt_id:str}", exception_handlers=_ANSWERS, include_in_schema=False)
async def show_receipt(request: AnyRequest, receipt_id: FromPath[str]) -> Page:
    """A receipt of the session's organization, to print."""
    house, cookie = house_of(request), _given(request)
    async with snapshot(house.sessions) as session:
        owned = await owning.of_cookie(session, cookie, now=house.clock())
        found = await receipts.statement(session, owned.organization_id, receipts.parsed(receipt_id))
    document = receipt_signing.signed(found, house.receipt_keys.signing)
    return _html(receipt_page.of_receipt(document, sandbox=not house.livemode))


@post("/owner/caps", status_code=303, exception_handlers=_ANSWERS, include_in_schema=False)
async def set_caps(request: AnyRequest) -> Page:
    """Replace all caps of an agent; an empty field is no limit."""
    owned, form = await _sent(request)
    limits: dict[str, Any] = {name: _cap(form.get(name, "")) for name, _ in CAPS}
    wanted = Caps(**limits)

    async def change(sessions: Sessions, whose: caps.Asked) -> object:
        return await caps.set_all(sessions, whose, wanted)

    return await _changed(request, owned, form, change, done="caps")


@post("/owner/pause", status_code=303, exception_handlers=_ANSWERS, include_in_schema=False)
async def pause(request: AnyRequest) -> Page:
    """Let an agent spend nothing."""
    return await _changed(request, *await _sent(request), caps.pause, done="pause")


@post("/owner/resume", status_code=303, exception_handlers=_ANSWERS, include_in_schema=False)
async def resume(request: AnyRequest) -> Page:
    """Let a paused agent spend again."""
    return await _changed(request, *await _sent(request), caps.resume, done="resume")


@post("/owner/token", status_code=200, exception_handlers=_ANSWERS, include_in_schema=False)
async def renew_token(request: AnyRequest) -> Page:
    """A new token for an agent that has lost its own, shown this once."""
    owned, form = await _sent(request)
    house, seen = house_of(request), form.get("seen", "")
    agent, token = await owning.new_token(
        house.sessions,
        owned,
        _id("agt", form.get("agent_id", "")),
        seen=None if seen == NO_TOKEN else _id("tok", seen),
        now=house.clock(),
    )
    log.info(
        "owner_renewed_token",
        organization_id=external("org", owned.organization_id),
        agent_id=external("agt", agent.id),
        owner_id=external(owning.OWNER_PREFIX, owned.owner_id),
    )
    return _html(owner_page.of_new_token(agent, token, sandbox=not house.livemode))


@post("/owner/switch", status_code=303, exception_handlers=_ANSWERS, include_in_schema=False)
async def switch(request: AnyRequest) -> Page:
    """Go on with another organization of the same contact."""
    owned, form = await _sent(request)
    house, now = house_of(request), house_of(request).clock()
    to = _id("org", form.get("organization_id", ""))
    cookie = await owning.switch(house.sessions, owned, to, now=now)
    return _seated(request, cookie, lasts=owned.expires_at - now)


@post("/owner/end", status_code=303, exception_handlers=_ANSWERS, include_in_schema=False)
async def end(request: AnyRequest) -> Page:
    """End this browser's session."""
    owned, _ = await _sent(request)
    house = house_of(request)
    await owning.end_session(house.sessions, owned, now=house.clock())
    return _signed_out(request)


async def _changed(
    request: AnyRequest,
    owned: Owned,
    form: Mapping[str, str],
    change: Callable[[Sessions, caps.Asked], Awaitable[object]],
    *,
    done: str,
) -> Page:
    key = form.get("key", "")
    if not key.startswith("owner-") or not is_key(key):
        raise Refused(Refusal.SCOPE_MISSING)
    house, agent_id = house_of(request), _id("agt", form.get("agent_id", ""))
    asked = caps.Asked(owned.organization_id, agent_id, owned.owner_id, key, house.clock(), owner=True)
    try:
        await change(house.sessions, asked)
    except Refused as refused:
        if refused.refusal is not Refusal.STATE_CONFLICT:
            raise
        return _said(request, owner_texts.LIMITED, status=refused.refusal.rule.http_status)
    return _on(f"/owner?done={done}")


async def _send(house: House, contact: str) -> None:
    try:
        await claims.sign_in(house.sessions, contact, post=post_of(house), clock=house.clock)
    except (Refused, SQLAlchemyError, OSError) as error:
        log.warning("sign_in_link_not_sent", error=type(error).__name__)


async def _sent(request: AnyRequest) -> tuple[Owned, Mapping[str, str]]:
    """Whose session a form came in, and the form. Raises `Refused`: AUTH_REQUIRED, SCOPE_MISSING for a forged one."""
    _require_ours(request)
    house, cookie, form = house_of(request), _given(request), await _form(request)
    async with snapshot(house.sessions) as session:
        owned = await owning.of_cookie(session, cookie, now=house.clock())
    if not hmac.compare_digest(form.get("form", "").encode(), owning.form_token(cookie).encode()):
        raise Refused(Refusal.SCOPE_MISSING)
    return owned, form


def _require_ours(request: AnyRequest) -> None:
    """Raise `Refused(SCOPE_MISSING)` for a form that did not come from a page of ours.

    Our pages name no referrer, and therefore browsers send `Origin: null` with their forms (Fetch, "append a request
    `Origin` header"); that it is the same origin says Sec-Fetch-Site, which no page can write. Where a browser sends
    none, it must name our origin.
    """
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    ours = urlsplit(house_of(request).settings.url)
    named = origin == f"{ours.scheme}://{ours.netloc}"
    if not (named or (origin in {None, "null"} and site == "same-origin")) or site not in {None, "same-origin"}:
        raise Refused(Refusal.SCOPE_MISSING)


async def _form(request: AnyRequest) -> Mapping[str, str]:
    """The fields of a form, each once. Raises `Refused(SCOPE_MISSING)` for what our pages do not send."""
    try:
        pairs = parse_qsl(
            (await request.body()).decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict"
        )
    except ValueError:
        raise Refused(Refusal.SCOPE_MISSING) from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise Refused(Refusal.SCOPE_MISSING)
    return form


def _contact(text: str) -> str | None:
    try:
        return ClaimAsked.model_validate({"contact": text}).contact
    except ValidationError:
        return None


def _cap(text: str) -> int | None:
    given = text.strip()
    if not given:
        return None
    if not given.isascii() or not given.isdigit() or len(given) > len(str(AMOUNT_MAX)) or int(given) > AMOUNT_MAX:
        raise Refused(Refusal.INVALID_ARGUMENTS)
    return int(given)


def _id(prefix: str, text: str) -> Any:
    try:
        return ids.parse(prefix, text)
    except ids.MalformedId:
        raise Refused(Refusal.NOT_FOUND) from None


def _is_https(request: AnyRequest) -> bool:
    return house_of(request).settings.url.startswith("https://")


def _cookie_name(request: AnyRequest) -> str:
    """With its prefix a browser takes the cookie over https and from this very host alone (RFC 6265bis, 4.1.3.2)."""
    return "__Host-purser-owner" if _is_https(request) else "purser-owner"


def _given(request: AnyRequest) -> str:
    return request.cookies.get(_cookie_name(request), "")


def _cookie(request: AnyRequest, value: str, lasts_s: int) -> str:
    secure = "; Secure" if _is_https(request) else ""
    return f"{_cookie_name(request)}={value}; Path=/; Max-Age={lasts_s}; HttpOnly; SameSite=Strict{secure}"


def _seated(request: AnyRequest, cookie: str, *, lasts: timedelta) -> Page:
    return _on("/owner", cookie=_cookie(request, cookie, int(lasts.total_seconds())))


def _signed_out(request: AnyRequest) -> Page:
    """Another site that leads here makes no browser send the cookie; its deletion would be taken all the same."""
    given = _cookie_name(request) in request.cookies
    return _on("/owner/sign-in", cookie=_cookie(request, "", 0) if given else None)


def _on(to: str, *, cookie: str | None = None) -> Page:
    headers = {**page.FORM_HEADERS, "Location": to, **({"Set-Cookie": cookie} if cookie is not None else {})}
    return Response("", status_code=303, media_type=MediaType.TEXT, headers=headers)


def _unusable(request: AnyRequest, refused: Refused) -> Page:
    said = owner_texts.OWNED if refused.refusal is Refusal.CLAIM_CONFLICT else owner_texts.UNUSABLE
    return _said(request, said, status=refused.refusal.rule.http_status)


def _said(request: AnyRequest, said: Words, *, status: int) -> Page:
    return _html(owner_page.of_words(said, sandbox=not house_of(request).livemode), status=status)


def _html(text: str, *, status: int = 200) -> Page:
    return Response(text, status_code=status, media_type=MediaType.HTML, headers=page.FORM_HEADERS)


ROUTES: Final[list[Any]] = [
    look,
    claim,
    sign_in,
    send_link,
    show,
    show_receipt,
    set_caps,
    pause,
    resume,
    renew_token,
    switch,
    end,
]

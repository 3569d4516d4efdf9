"""Sign-up, tokens, and the agents of an organization."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from litestar import get, post
from litestar.params import FromPath

from api.http import fields
from api.http.authentication import agents_only, presented
from api.http.context import AnyRequest, actor_of, house_of
from api.http.envelope import Envelope, answer
from api.http.rate_limits import count_signup, measured
from api.http.reading import body_of, query_of
from api.http.routes.describe import described
from api.http.views import people
from billing import claim_states, identity
from billing.database import snapshot
from billing.identity import Newcomer
from billing.refusals import Refusal, Refused
from ledger import ids
from ledger.ids import external


@post(
    "/v1/agent-signups",
    status_code=200,
    opt=described(
        "signup --agent",
        body=fields.SignupAsked,
        refuses=(Refusal.AUTH_REQUIRED, Refusal.RATE_LIMITED, Refusal.WALLET_SIGN_IN_FIRST),
    ),
)
async def sign_up(request: AnyRequest) -> Envelope:
    """A new agent in a new organization, or a new token for an agent that may be taken over."""
    count_signup(request)
    asked = await body_of(request, fields.SignupAsked)
    house = house_of(request)
    newcomer = Newcomer(asked.agent_name, asked.runtime, asked.contact, asked.discovery_source)
    actor = await presented(request)
    done = await identity.sign_up(
        house.sessions,
        newcomer,
        want_token=asked.return_token,
        presented=actor,
        now=house.clock(),
    )
    # What a human owns is never taken over: only who presents its token signs up into it.
    claimed = actor is not None and actor.claimed and actor.organization_id == done.agent.organization_id
    return answer(
        request,
        people.signed_up(done, claimed=claimed),
        warnings=people.signup_warnings(done),
        actor=people.as_actor(done.agent.id, done.agent.organization_id, claimed=claimed),
    )


@get("/v1/whoami", guards=[agents_only], opt=described("whoami"))
async def whoami(request: AnyRequest) -> Envelope:
    """The agent behind the token."""
    actor = actor_of(request)
    async with snapshot(house_of(request).sessions) as session:
        state = await claim_states.claim_state(session, actor.organization_id)
        asked = await claim_states.claim_request_state(session, actor.organization_id)
    return answer(request, people.whoami(actor, claim_state=state, claim_request_state=asked))


@post(
    "/v1/tokens/rotate",
    status_code=200,
    guards=[agents_only, measured],
    opt=described("token rotate", body=fields.RotateAsked),
)
async def rotate_token(request: AnyRequest) -> Envelope:
    """A new token for the agent; older ones end after a grace, so that an agent that loses this answer can ask again.

    With `grace_seconds` 0 they end at once.
    """
    asked = await body_of(request, fields.RotateAsked) if await request.body() else fields.RotateAsked()
    house, actor = house_of(request), actor_of(request)
    grace = timedelta(seconds=asked.grace_seconds)
    done = await identity.rotate_token(house.sessions, actor, grace=grace, now=house.clock())
    return answer(request, people.rotated(done, actor), warnings=[people.SHOWN_ONCE])


@post("/v1/tokens/revoke", status_code=200, guards=[agents_only], opt=described("token revoke"))
async def revoke_token(request: AnyRequest) -> Envelope:
    """End every token of the agent, at once, those in their grace too."""
    house, actor = house_of(request), actor_of(request)
    await identity.revoke_token(house.sessions, actor, now=house.clock())
    return answer(request, {"token_status": "revoked", "agent_id": external("agt", actor.agent_id)})


@get("/v1/agents", guards=[agents_only], opt=described("agents list", query=fields.AgentsAsked))
async def list_agents(request: AnyRequest) -> Envelope:
    """The organization's agents, oldest first."""
    asked, actor = query_of(request, fields.AgentsAsked), actor_of(request)
    after = cursor("agt", asked.cursor)
    async with snapshot(house_of(request).sessions) as session:
        found = await identity.agents(session, actor, after=after, limit=asked.limit + 1)
    return answer(request, people.agents_page(found, actor, limit=asked.limit))


@post(
    "/v1/agents",
    status_code=200,
    guards=[agents_only, measured],
    opt=described(
        "agents invite",
        body=fields.InviteAsked,
        refuses=(Refusal.WALLET_SIGN_IN_FIRST, Refusal.SPENDER_LIMITED, Refusal.AGENT_LIMIT_REACHED),
    ),
)
async def invite(request: AnyRequest) -> Envelope:
    """Another agent in the organization, with a token of its own."""
    asked = await body_of(request, fields.InviteAsked)
    house, actor = house_of(request), actor_of(request)
    newcomer = Newcomer(asked.agent_name, asked.runtime, asked.agent_contact)
    done = await identity.invite(house.sessions, actor, newcomer, now=house.clock())
    return answer(request, people.signed_up(done, claimed=actor.claimed), warnings=people.signup_warnings(done))


@post(
    "/v1/agents/{agent_id:str}/revoke",
    status_code=200,
    guards=[agents_only],
    opt=described("agents revoke", refuses=(Refusal.WALLET_SIGN_IN_FIRST, Refusal.SPENDER_LIMITED, Refusal.LAST_AGENT)),
)
async def revoke_agent(request: AnyRequest, agent_id: FromPath[str]) -> Envelope:
    """End an agent of the organization and its tokens."""
    house, actor = house_of(request), actor_of(request)
    try:
        revoked_id = ids.parse("agt", agent_id)
    except ids.MalformedId:
        raise Refused(Refusal.NOT_FOUND, "there is no such agent") from None
    agent = await identity.revoke_agent(house.sessions, actor, revoked_id, now=house.clock())
    return answer(request, {"agent": people.agent_view(agent, actor)})


def cursor(prefix: str, text: str | None) -> Any:
    """Where a page begins. Raises `Refused(INVALID_ARGUMENTS)` for what no answer ever gave."""
    try:
        return ids.parse(prefix, text) if text is not None else None
    except ids.MalformedId:
        raise Refused(Refusal.INVALID_ARGUMENTS, "cursor must be the next_cursor of an earlier answer") from None


ROUTES: Final[list[Any]] = [sign_up, whoami, rotate_token, revoke_token, list_agents, invite, revoke_agent]

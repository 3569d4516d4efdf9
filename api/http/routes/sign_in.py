"""`POST /v1/x402/sign-in`: coming back by the wallet that paid, after its token was lost.

Asked without `SIGN-IN-WITH-X` it answers 402 with a challenge: it is what x402 clients react to by themselves, as with
a payment. Everything that is wrong with a sign-in has another status, or such a client would try to pay next.
"""

from __future__ import annotations

from typing import Any, Final

from litestar import post

from api.http import envelope
from api.http.authentication import presented
from api.http.context import AnyRequest, house_of
from api.http.envelope import Answer, Envelope
from api.http.rate_limits import count_signup
from api.http.refusal_answers import refusal_of
from api.http.routes.describe import described
from api.http.views import people, signing_in
from api.native import Native
from billing import wallets
from billing.claim_states import owner_of
from billing.database import snapshot
from billing.identity import Actor
from billing.refusals import Refusal, Refused
from ledger import statements
from rails.evm import eip191
from rails.evm.chain import Chain
from rails.rail import RailUnavailable
from rails.x402.messages import PAYMENT_REQUIRED
from rails.x402.signing_in import HEADER, SignIn, digest_of, disagreement, message_of, parse
from rails.x402.terms import METHOD_ID, Malformed

_REFUSES: Final = (
    Refusal.INVALID_ARGUMENTS,
    Refusal.AUTH_REQUIRED,
    Refusal.SIGN_IN_REFUSED,
    Refusal.SIGN_IN_REQUIRED,
    Refusal.NOT_FOUND,
    Refusal.WALLET_SIGN_IN_FIRST,
    Refusal.STATE_CONFLICT,
    Refusal.PAYMENT_METHOD_UNAVAILABLE,
    Refusal.RATE_LIMITED,
)
_IN_WORDS: Final = {
    "invalid_siwx_domain_mismatch": "the text was signed for another domain",
    "invalid_siwx_uri_mismatch": "the text was signed for another address than this service's",
    "invalid_siwx_unsupported_chain": "the text was signed for another chain",
    "invalid_siwx_request_id": "the text was signed for something else: linking takes a challenge that was asked for "
    "with this agent's token along, signing in one that was asked for without a token",
    "invalid_siwx_issued_at_in_future": "the text says that it was issued in the future",
    "invalid_siwx_issued_at_too_old": "the text was issued too long ago",
    "invalid_siwx_expired": "the text has expired",
    "invalid_siwx_not_yet_valid": "the text is not valid yet",
}


@post(signing_in.PATH, status_code=200, opt=described("x402 sign-in", refuses=_REFUSES))
async def sign_in(request: AnyRequest) -> Envelope | Answer:
    """A new token for the agent of the wallet that signs; its older ones end at once.

    With an agent's token sent along, the wallet is linked to that agent instead and no token changes. The signed
    challenge (EIP-4361) comes in the header SIGN-IN-WITH-X; without it, the answer is 402 with a challenge, which is
    for linking when a token came along with that request too.
    """
    native = _native(request)
    count_signup(request)
    actor, header = await _linking(request), _header(request)
    if header is None:
        return await _challenge(request, native, actor)
    house = house_of(request)
    asked = _understood(request, header, native, actor)
    await wallets.require_usable(house.sessions, asked.nonce, now=house.clock())
    address = await _signer(asked, native.chain)
    wallet = people.Wallet(native.network.caip2, address)
    if actor is not None:
        await wallets.link(
            house.sessions, actor, network=wallet.network, address=address, nonce=asked.nonce, now=house.clock()
        )
        return envelope.answer(
            request,
            people.linked(actor, wallet),
            actor=people.as_actor(actor.agent_id, actor.organization_id, claimed=actor.claimed),
        )
    done = await wallets.sign_in(
        house.sessions, network=wallet.network, address=address, nonce=asked.nonce, now=house.clock()
    )
    async with snapshot(house.sessions) as session:
        balance = await statements.balance(session, done.agent.organization_id, house.clock())
        claimed = await owner_of(session, done.agent.organization_id) is not None
    return envelope.answer(
        request,
        people.signed_in(done, wallet, balance, claimed=claimed),
        warnings=[people.SHOWN_ONCE],
        actor=people.as_actor(done.agent.id, done.agent.organization_id, claimed=claimed),
    )


def _native(request: AnyRequest) -> Native:
    native = house_of(request).native
    if native is None:
        raise Refused(Refusal.PAYMENT_METHOD_UNAVAILABLE, f"{METHOD_ID} is not configured on this service")
    return native


async def _linking(request: AnyRequest) -> Actor | None:
    """Whose token was sent along. An old one stands in the way of the very thing that its agent wants to do."""
    try:
        return await presented(request)
    except Refused as refused:
        if refused.refusal is not Refusal.AUTH_REQUIRED:
            raise
        message = "the token that was sent along does not hold; sign in without it"
        raise Refused(
            Refusal.AUTH_REQUIRED, message, recovery={"advice": "Leave the authorization header out."}
        ) from None


def _header(request: AnyRequest) -> str | None:
    given = request.headers.getall(HEADER.lower(), [])
    if len(given) > 1:
        raise Refused(Refusal.INVALID_ARGUMENTS, f"{HEADER} may be given once")
    return given[0] if given else None


async def _challenge(request: AnyRequest, native: Native, linking: Actor | None) -> Answer:
    house = house_of(request)
    made = await wallets.challenge(house.sessions, now=house.clock())
    asked = signing_in.asked(made, house.settings.url, native.network.caip2, linking=linking)
    refused = Refused(Refusal.SIGN_IN_REQUIRED, recovery=signing_in.by_hand(asked))
    return refusal_of(request, refused, {PAYMENT_REQUIRED.lower(): signing_in.payment_required(asked)})


def _understood(request: AnyRequest, header: str, native: Native, linking: Actor | None) -> SignIn:
    """A sign-in to us and now, for what is asked here, whoever signed it."""
    house = house_of(request)
    try:
        asked = parse(header)
    except Malformed as malformed:
        raise Refused(Refusal.INVALID_ARGUMENTS, str(malformed)) from None
    url, network = house.settings.url, native.network.caip2
    domain, origin = signing_in.domain_of(url), signing_in.origin_of(url)
    reason = disagreement(
        asked,
        domain=domain,
        uri_origin=origin,
        network=network,
        request_id=signing_in.request_id_of(linking),
        now=house.clock(),
    )
    if reason is not None:
        raise _refused(reason, _IN_WORDS[reason])
    return asked


async def _signer(asked: SignIn, chain: Chain | None) -> str:
    """The address, in EIP-55 letters, whose wallet signed: its key, or of an address with code its contract (EIP-1271).

    Without a chain to ask nobody can know which addresses have code: then the key alone counts, as no contract has one.
    """
    address, digest = eip191.checksummed(asked.address), digest_of(message_of(asked))
    by_key = eip191.signer(digest, asked.signature) == address
    if chain is None:
        if not by_key:
            message = "the signature is not of the address's key; a contract's wallet cannot sign in here, because this"
            raise _refused("invalid_siwx_signature", f"{message} service asks no chain")
        return address
    try:
        has_code = bool(await chain.code_of(address))
        holds = await chain.is_valid_signature(address, digest, asked.signature) if has_code else by_key
    except RailUnavailable:
        message = "the chain does not answer, so the signature was not checked; the same sign-in can be sent again"
        raise Refused(Refusal.PAYMENT_METHOD_UNAVAILABLE, message) from None
    if not holds:
        raise _refused("invalid_siwx_signature", "the signature is not of the address's wallet")
    return address


def _refused(reason: str, message: str) -> Refused:
    return Refused(Refusal.SIGN_IN_REFUSED, message, recovery={"reason": reason})


ROUTES: Final[list[Any]] = [sign_in]

"""What a facilitator's answers mean, one by one, without a chain: only a clear answer is a yes or a no."""

import asyncio
import json
import logging
import time
import traceback
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import pytest

from rails.evm.eip3009 import Authorization
from rails.evm.networks import BASE_SEPOLIA
from rails.rail import OutcomeUnknown, RailUnavailable
from rails.x402.facilitator import BODY_BYTES_MAX, Facilitator, Settled, WrongFacilitator, payment_wire
from rails.x402.terms import NotPayable, Requirement
from tests.service import HOST

SECRET, TOKEN = "k3y-that-is-secret", "t0ken-that-is-secret"
TIMEOUT_S = 60.0
SHORT_S = 0.5
TRICKLING = 10_000  # bytes that would take a quarter of an hour
PRICE = 1_000_000
NETWORK = BASE_SEPOLIA.caip2
PAYER, PAYEE = "0x" + "1a" * 20, "0x" + "2b" * 20
REQUIREMENT = Requirement(
    network=NETWORK,
    asset=BASE_SEPOLIA.token_address,
    amount_atomic=PRICE,
    pay_to=PAYEE,
    timeout_s=300,
    token_name=BASE_SEPOLIA.token_name,
    token_version=BASE_SEPOLIA.token_version,
)
AUTHORIZATION = Authorization(PAYER, PAYEE, PRICE, 0, 2_000_000_000, b"\x07" * 32)
PAYMENT = payment_wire(REQUIREMENT, AUTHORIZATION, b"\x01" * 65, None)

HASH = "0x" + "Ab" * 32
YES = {"success": True, "transaction": HASH, "network": NETWORK}
NO = {"success": False, "transaction": "", "network": NETWORK}
POOR = "invalid_exact_evm_insufficient_balance"
SETTLE_ANSWERS = {
    "yes": (200, YES, Settled(HASH.lower())),
    "yes, with payer and amount": (200, {**YES, "payer": PAYER, "amount": str(PRICE)}, Settled(HASH.lower())),
    "yes in an error": (502, YES, OutcomeUnknown),
    "yes to what was not understood": (400, YES, OutcomeUnknown),
    "yes without a hash": (200, {**YES, "transaction": ""}, OutcomeUnknown),
    "yes with half a hash": (200, {**YES, "transaction": HASH[:40]}, OutcomeUnknown),
    "yes with no hash": (200, {**YES, "transaction": 7}, OutcomeUnknown),
    "yes elsewhere": (200, {**YES, "network": "eip155:8453"}, OutcomeUnknown),
    "yes for another": (200, {**YES, "payer": PAYEE}, OutcomeUnknown),
    "yes to less": (200, {**YES, "amount": str(PRICE - 1)}, OutcomeUnknown),
    "a word for yes": (200, {**YES, "success": "true"}, OutcomeUnknown),
    "no": (200, {**NO, "errorReason": POOR}, NotPayable),
    "no by HTTP too": (402, {**NO, "errorReason": POOR}, NotPayable),
    "no without the field": (400, {"success": False, "errorReason": POOR}, NotPayable),
    "no in an error": (500, {**NO, "errorReason": POOR}, OutcomeUnknown),
    "no with a transaction": (200, {**NO, "errorReason": POOR, "transaction": HASH}, OutcomeUnknown),
    "pending": (200, {**NO, "errorReason": "settlement_pending", "transaction": HASH}, OutcomeUnknown),
    "pending without its hash": (200, {**NO, "errorReason": "settlement_pending"}, OutcomeUnknown),
    "failed": (200, {**NO, "errorReason": "transaction_failed"}, OutcomeUnknown),
    "unexpected": (200, {**NO, "errorReason": "unexpected_settle_error"}, OutcomeUnknown),
    "used": (200, {**NO, "errorReason": "invalid_exact_evm_nonce_already_used"}, OutcomeUnknown),
    "no in its own words": (200, {**NO, "errorReason": SECRET}, OutcomeUnknown),
    "no for no reason": (200, NO, OutcomeUnknown),
    "no for a strange reason": (200, {**NO, "errorReason": [POOR]}, OutcomeUnknown),
    "not served": (200, {**NO, "errorReason": "unsupported_scheme"}, RailUnavailable),
    "not served, in an error": (500, {**NO, "errorReason": "unsupported_scheme"}, OutcomeUnknown),
    "forbidden": (403, {"error": SECRET}, RailUnavailable),
    "too many": (429, {"error": SECRET}, RailUnavailable),
    "not found": (404, {"error": SECRET}, OutcomeUnknown),
    "an error": (500, {"error": SECRET}, OutcomeUnknown),
    "a list": (200, [YES], OutcomeUnknown),
    "a deep hole": (200, b"[" * 100_000, OutcomeUnknown),
    "no Unicode": (200, b"\xff\xfe\xff", OutcomeUnknown),
    "too much": (200, json.dumps(YES).encode() + b" " * BODY_BYTES_MAX, OutcomeUnknown),
    "half of it": (200, json.dumps(YES).encode()[:-9], OutcomeUnknown),
}
VERIFY_ANSWERS = {
    "yes": (200, {"isValid": True}, None),
    "yes in an error": (500, {"isValid": True}, RailUnavailable),
    "no": (200, {"isValid": False, "invalidReason": POOR}, POOR),
    "no by HTTP too": (400, {"isValid": False, "invalidReason": POOR}, POOR),
    "no in its own words": (200, {"isValid": False, "invalidReason": SECRET}, "unexpected_verify_error"),
    "no for a strange reason": (200, {"isValid": False, "invalidReason": {}}, "unexpected_verify_error"),
    "unexpected": (200, {"isValid": False, "invalidReason": "unexpected_verify_error"}, RailUnavailable),
    "not served": (200, {"isValid": False, "invalidReason": "invalid_network"}, RailUnavailable),
    "forbidden": (401, {}, RailUnavailable),
    "not found": (404, {}, RailUnavailable),
    "nothing": (200, b"", RailUnavailable),
}
SUPPORTED_ANSWERS = {
    "ours": (200, [{"x402Version": 2, "scheme": "exact", "network": NETWORK}], None),
    "its family": (200, [{"x402Version": 2, "scheme": "exact", "network": "eip155:*"}], None),
    "version 1": (200, [{"x402Version": 1, "scheme": "exact", "network": NETWORK}], WrongFacilitator),
    "another scheme": (200, [{"x402Version": 2, "scheme": "upto", "network": NETWORK}], WrongFacilitator),
    "none": (200, [], WrongFacilitator),
    "junk": (200, [7, None, {"network": []}], WrongFacilitator),
    "no list": (200, {}, WrongFacilitator),
    "not found": (404, [], WrongFacilitator),
    "forbidden": (403, [], RailUnavailable),
    "an error": (503, [], RailUnavailable),
}


@asynccontextmanager
async def answering(status, body, *, pause_s=0.0):
    """A facilitator that gives this answer to everything; byte by byte, and with a long end, if it is to pause."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    content += b" " * (TRICKLING if pause_s else 0)
    serving: list[Any] = []

    async def serve(reader, writer):
        serving.append(asyncio.current_task())
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0))
            writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(content)}\r\nconnection: close\r\n\r\n".encode())
            for part in [content] if not pause_s else [bytes([one]) for one in content]:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause_s)
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    url = f"http://{HOST}:{server.sockets[0].getsockname()[1]}/{SECRET}"
    asked = Facilitator(url, token=TOKEN, timeout_s=SHORT_S if pause_s else TIMEOUT_S)
    asked._http.timeout = httpx.Timeout(TIMEOUT_S)  # so that only the whole is bounded, whatever part of it takes long
    try:
        yield asked
    finally:
        await asked.aclose()
        server.close()
        await asyncio.gather(*serving)


@pytest.mark.parametrize(("status", "body", "expected"), SETTLE_ANSWERS.values(), ids=SETTLE_ANSWERS.keys())
async def test_only_a_clear_answer_to_settle_is_a_yes_or_a_no(status, body, expected):
    async with answering(status, body) as facilitator:
        if isinstance(expected, Settled):
            assert await facilitator.settle(PAYMENT, REQUIREMENT) == expected
            return
        with pytest.raises(expected) as raised:
            await facilitator.settle(PAYMENT, REQUIREMENT)
    assert_nothing_shown(raised.value)


@pytest.mark.parametrize(("status", "body", "expected"), VERIFY_ANSWERS.values(), ids=VERIFY_ANSWERS.keys())
async def test_only_a_clear_answer_to_verify_is_a_yes_or_a_no(status, body, expected):
    async with answering(status, body) as facilitator:
        if expected is None:
            await facilitator.verify(PAYMENT, REQUIREMENT)
            return
        with pytest.raises(NotPayable if isinstance(expected, str) else expected) as raised:
            await facilitator.verify(PAYMENT, REQUIREMENT)
    assert_nothing_shown(raised.value)
    assert expected is RailUnavailable or raised.value.reason == expected


@pytest.mark.parametrize(("status", "kinds", "expected"), SUPPORTED_ANSWERS.values(), ids=SUPPORTED_ANSWERS.keys())
async def test_a_facilitator_is_taken_when_it_lists_our_kind(status, kinds, expected):
    async with answering(status, {"kinds": kinds}) as facilitator:
        if expected is None:
            await facilitator.supported(NETWORK)
            return
        with pytest.raises(expected) as raised:
            await facilitator.supported(NETWORK)
    assert_nothing_shown(raised.value)


async def test_an_answer_that_trickles_is_late():
    async with answering(200, YES, pause_s=0.1) as facilitator:
        started = time.monotonic()
        with pytest.raises(OutcomeUnknown, match="did not answer /settle in time"):
            await facilitator.settle(PAYMENT, REQUIREMENT)
        assert time.monotonic() - started < TIMEOUT_S / 2


async def test_the_token_and_what_came_back_are_in_no_log_and_no_repr(caplog):
    caplog.set_level(logging.DEBUG)
    async with answering(401, {"error": "whoever reads this"}) as facilitator:
        assert_nothing_shown(ValueError(repr(facilitator), str(facilitator)))
        with pytest.raises(RailUnavailable) as raised:
            await facilitator.settle(PAYMENT, REQUIREMENT)
    assert_nothing_shown(raised.value)
    said = "".join(record.getMessage() for record in caplog.records)
    assert "401" in said
    assert TOKEN not in said
    assert "whoever" not in said


@pytest.mark.parametrize(
    "url",
    [
        "",
        "facilitator.test",
        "ftp://x.test",
        "https://",
        "https://u:p@x.test",
        "https://x.test/?key=1",
        "https://x.test:port",
    ],
)
def test_an_address_that_is_none_or_holds_credentials_is_refused_without_repeating_it(url):
    with pytest.raises(ValueError, match="a facilitator's URL is http") as raised:
        Facilitator(url, token=None)
    assert not url or url not in shown(raised.value)


@pytest.mark.parametrize("token", ["", f"{TOKEN}\n", f"{TOKEN} x", f"{TOKEN}é"])
def test_a_token_that_no_header_can_hold_is_refused_without_repeating_it(token):
    with pytest.raises(ValueError, match="token holds what") as raised:
        Facilitator("https://facilitator.test", token=token)
    assert_nothing_shown(raised.value)


def shown(raised):
    """All that a log could print of an error: its words and those of what caused it, without the lines of code."""
    words = ""
    while raised is not None:
        words += "".join(traceback.format_exception_only(raised)) + repr(raised.args)
        raised = raised.__cause__ or raised.__context__
    return words


def assert_nothing_shown(raised):
    assert SECRET not in shown(raised)
    assert TOKEN not in shown(raised)

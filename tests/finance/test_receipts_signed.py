"""Receipts are signed, are the same whenever they are asked for, and hold without us."""

import base64
import json
import re
import sys
from hashlib import md5
from html import unescape
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import event

from api.cli import main
from api.pages import receipt_page
from api.wiring import async_url
from billing.database import sessions, snapshot
from billing.refusals import Refusal, Refused
from finance import receipt_signing, receipts
from finance.receipt_signing import FIELDS, PublicKey, Unverified, canonical, public_key, signed, signing_key, verified
from ledger.ids import external
from tests.mailing import town_of
from tests.service import RECEIPT_KEY, data_of, error_of, new_agent
from tests.warm import engine_of

KEY = signing_key(RECEIPT_KEY)
OTHER = signing_key("18" * 32)
JOURNAL = {"operation_id": "op_1", "seq": 2, "head": "ab" * 32}
PAYMENT = {
    "format": receipt_signing.FORMAT, "kind": "payment", "receipt_id": "receipt_1", "organization_id": "org_1",
    "credits": 500, "journal": JOURNAL, "payment_attempt_id": "payatt_1", "quote_id": "quote_1", "subtotal_cents": 500,
    "discount_cents": 0, "tax_cents": 0, "amount_cents": 500, "currency": "usd", "payment_method": "stripe_checkout",
    "live_money": False, "late": False, "settled_at": "2026-10-01T00:00:00.000Z",
    "created_at": "2026-10-01T00:00:00.000Z",
}  # fmt: skip
JOB = {
    "format": receipt_signing.FORMAT, "kind": "job", "receipt_id": "receipt_2", "organization_id": "org_1",
    "credits": 7, "journal": JOURNAL, "job_id": "job_2", "charged_at": "2026-10-01T00:00:00.000Z",
}  # fmt: skip
TAMPERED = [
    *((PAYMENT, (name,)) for name in PAYMENT),
    *((JOB, (name,)) for name in JOB),
    *((PAYMENT, ("journal", name)) for name in JOURNAL),
]


def text_of(document) -> bytes:
    return json.dumps(document).encode()


def other_than(value):
    """Another value of the same type."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case str():
            return value + "x"
    return {**value, "seq": value["seq"] + 1}


def test_a_statement_has_one_spelling_and_one_signature():
    assert canonical({"b": [1, None, True], "a": 'é"\n\x1f'}) == '{"a":"é\\"\\n\\u001f","b":[1,null,true]}'.encode()
    first = signed(PAYMENT, KEY)
    assert first == signed(dict(reversed(PAYMENT.items())), KEY)
    assert set(PAYMENT) == set(FIELDS["payment"])
    assert set(JOB) == set(FIELDS["job"])
    assert KEY.public.key_id == first["signature"]["key_id"]
    for wrong in (1.5, {"é": 1}, 2**53, [b"x"], "\ud800"):
        with pytest.raises(ValueError, match=r"sign|ASCII|large|surrogates"):
            canonical(wrong)


def test_the_signature_is_that_of_the_standard():
    """RFC 8032, section 7.1, test 1: what we make of its seed is its public key."""
    seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
    public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert signing_key(seed).public.raw.hex() == public
    assert signing_key(base64.b64encode(bytes.fromhex(seed)).decode()).public.raw.hex() == public


@pytest.mark.parametrize("statement", [PAYMENT, JOB], ids=["payment", "job"])
def test_a_receipt_holds_in_any_order_and_inside_a_whole_answer(statement):
    document = signed(statement, KEY)
    turned = {name: dict(reversed(inside.items())) for name, inside in reversed(document.items())}
    for text in (text_of(document), json.dumps(turned, indent=7).encode(), text_of({"ok": True, "data": document})):
        assert verified(text, [OTHER.public, KEY.public]) == statement


@pytest.mark.parametrize(
    ("statement", "path"), TAMPERED, ids=lambda each: ".".join(each) if type(each) is tuple else ""
)
def test_a_receipt_in_which_a_field_was_changed_or_taken_out_does_not_hold(statement, path):
    for change in ("other", "gone", "null"):
        document = json.loads(text_of(signed(statement, KEY)))
        inside = document["receipt"]
        for name in path[:-1]:
            inside = inside[name]
        if change == "gone":
            del inside[path[-1]]
        else:
            inside[path[-1]] = other_than(inside[path[-1]]) if change == "other" else None
        with pytest.raises(Unverified):
            verified(text_of(document), [KEY.public])


def test_a_document_that_is_no_signed_receipt_does_not_hold():
    good = signed(PAYMENT, KEY)
    mark = good["signature"]
    for why, wrong in {
        "unknown field": {**good, "receipt": {**PAYMENT, "note": "x"}},
        "nothing else": {**good, "note": "x"},
        "none of those": signed(PAYMENT, OTHER),
        "unknown field 'more'": {**good, "signature": {**mark, "more": ""}},
        "not with Ed25519": {**good, "signature": {**mark, "algorithm": "none"}},
        "does not fit": {**good, "signature": {**mark, "value": signed(JOB, KEY)["signature"]["value"]}},
        "is not signed": signed(PAYMENT, None),
        "no receipt of": {**good, "receipt": []},
        "signature is not": {**good, "signature": []},
    }.items():
        with pytest.raises(Unverified, match=why):
            verified(text_of(wrong), [KEY.public])
    shorter = {**good, "signature": {**mark, "value": mark["value"][:-4]}}
    with pytest.raises(Unverified, match="does not fit"):
        verified(text_of(shorter), [KEY.public])
    twice = text_of(good).replace(b'"credits": 500', b'"credits": 900, "credits": 500')
    with pytest.raises(Unverified, match="twice"):
        verified(twice, [KEY.public])
    for nonsense in (b"", b"[]", b"\xff", b"[" * 10_000, b" " * 70_000, text_of(good).replace(b"500", b"500.0")):
        with pytest.raises(Unverified):
            verified(nonsense, [KEY.public])


def test_a_key_that_is_none_is_refused_without_being_quoted():
    for wrong in ("", "x", "zz" * 32, "17" * 31, base64.b64encode(bytes(31)).decode()):
        with pytest.raises(ValueError, match=r"must be|base64"):
            signing_key(wrong)
        with pytest.raises(ValueError, match=r"must be|base64"):
            public_key(wrong)
    assert RECEIPT_KEY not in repr(KEY)
    assert "0x17" not in repr(KEY)
    assert public_key(KEY.public.text) == PublicKey(KEY.public.raw)


def test_the_page_of_a_receipt_shows_the_document_that_can_be_checked():
    for statement in ({**PAYMENT, "discount_cents": 100, "tax_cents": 25}, JOB):
        shown = receipt_page.of_receipt(signed(statement, KEY), sandbox=True)
        [document] = map(unescape, re.findall(r'<pre id="document">(.*?)</pre>', shown, re.DOTALL))
        assert verified(document.encode(), [KEY.public]) == statement
    assert "does not sign" in receipt_page.of_receipt(signed(JOB, None), sandbox=False)
    nasty = receipt_page.of_receipt(signed({**PAYMENT, "payment_method": "<script>x"}, KEY), sandbox=False)
    assert "<script>x" not in nasty


@pytest.fixture
def purser(monkeypatch, capsys, tmp_path):
    """The command in this process, without any setting; its exit status and what it said."""
    monkeypatch.setenv("PURSER_DATA_DIR", str(tmp_path / "none"))

    def run(*words, **settings):
        for name, value in settings.items():
            monkeypatch.setenv(f"PURSER_{name.upper()}", value)
        monkeypatch.setattr(sys, "argv", ["purser", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out + said.err

    return run


def test_the_command_checks_a_receipt_offline_and_says_what_is_wrong(purser, tmp_path):
    good, bad, keys = tmp_path / "good.json", tmp_path / "bad.json", tmp_path / "keys.json"
    good.write_bytes(text_of(signed(PAYMENT, KEY)))
    bad.write_bytes(good.read_bytes().replace(b'"credits": 500', b'"credits": 501'))
    assert purser("receipt", "verify", good)[0] == 2
    status, said = purser("receipt", "verify", good, "--key", KEY.public.text)
    assert (status, "5.00 usd for 500 credits" in said, "test money" in said) == (0, True, True)
    live = tmp_path / "live.json"
    live.write_bytes(text_of(signed({**PAYMENT, "live_money": True}, KEY)))
    status, said = purser("receipt", "verify", live, "--key", KEY.public.text)
    assert (status, "test money" in said) == (0, False)
    status, said = purser("receipt", "verify", bad, "--key", KEY.public.text)
    assert (status, "changed after it was signed" in said) == (1, True)
    assert purser("receipt", "verify", good, "--key", OTHER.public.text)[0] == 1
    assert purser("receipt", "verify", good, "--key", "nonsense")[0] == 2
    assert purser("receipt", "verify", tmp_path / "nothing", "--key", KEY.public.text)[0] == 1
    status, printed = purser("receipt", "keys", receipt_key="18" * 32, receipt_keys_retired=KEY.public.text)
    assert [one["signs"] for one in json.loads(printed)["keys"]] == [True, False]
    assert purser("receipt", "verify", good)[0] == 0, "a retired key still counts"
    keys.write_text(printed)
    assert purser("receipt", "verify", good, "--keys", keys)[0] == 0
    assert purser("receipt", "verify", good, "--keys", bad)[0] == 2


def test_a_new_key_is_one_that_the_settings_take(purser):
    status, said = purser("receipt", "make-key")
    [seed] = re.findall(r"PURSER_RECEIPT_KEY=([0-9a-f]{64})\n", said)
    assert status == 0
    assert signing_key(seed).public.text in said
    assert signing_key(seed).public.key_id in purser("receipt", "keys", receipt_key=seed)[1]
    status, said = purser("receipt", "keys", receipt_key="secret-of-mine")
    assert (status, "PURSER_RECEIPT_KEY" in said, "secret-of-mine" in said) == (2, True, False)


def test_a_payment_and_a_job_have_receipts_that_hold_and_stay_the_same(agent, sandbox, http):
    bought = agent.buy(agent.quote())
    sandbox.pay(bought["checkout_session_id"])
    known = agent.wait_for_state("succeeded", quote_id=bought["quote_id"])["receipt"]
    path = f"/v1/receipts/{known['receipt_id']}"
    first = agent.get(path)
    made = agent.do("/v1/create", prompt="a fox", model="house.sketcher")["receipt"]
    job = agent.get(f"/v1/receipts/{made['receipt_id']}")
    published = http.get("/v1/receipt-keys")
    assert published.headers["cache-control"] == "public, max-age=300"
    trusted = [public_key(one["public_key"]) for one in data_of(published)["keys"]]
    for document, one in ((first, known), (job, made)):
        stated = verified(text_of(document), trusted)
        assert stated["journal"] == {name: one["journal"][name] for name in JOURNAL}
        assert (stated["credits"], stated["organization_id"]) == (one["credits"], agent.organization_id)
    assert first["receipt"]["amount_cents"] == known["amount_cents"] == 500
    assert agent.get(path) == first, "what was spent since has changed it"
    printed = http.get(path, headers={**agent.headers, "Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"})
    assert (printed.status_code, printed.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert (printed.headers["cache-control"], printed.headers["vary"]) == ("no-store", "Accept")
    assert '<strong id="total">$5.00</strong>' in printed.text
    assert first["signature"]["value"] in printed.text
    plain = http.get(path, headers={**agent.headers, "Accept": "text/html;q=inf, application/json"})
    assert data_of(plain) == first
    error_of(http.get(path, headers={"Accept": "text/html"}), 401, "AUTH_REQUIRED")
    error_of(new_agent(http).send("GET", path), 404, "NOT_FOUND")
    for name in ("receipt_x", known["quote_id"]):
        error_of(agent.send("GET", f"/v1/receipts/{name}"), 404, "NOT_FOUND")


def test_a_service_without_a_key_says_that_its_receipts_are_not_signed_and_an_owner_prints_them(start_service):
    with town_of(lambda **more: start_service(receipt_key="", receipt_keys_retired=KEY.public.text, **more)) as town:
        agent, human, _ = town.owned()
        [key] = data_of(town.http.get("/v1/receipt-keys"))["keys"]
        assert (key["public_key"], key["signs"]) == (KEY.public.text, False)
        bought = agent.buy(agent.quote())
        town.service.sandbox.pay(bought["checkout_session_id"])
        known = agent.wait_for_state("succeeded", quote_id=bought["quote_id"])["receipt"]
        assert agent.get(f"/v1/receipts/{known['receipt_id']}")["signature"] is None
        [link] = re.findall(r'href="(/owner/receipts/[^"]+)"', human.get("/owner").text)
        shown = human.get(link)
        assert '<strong id="total">$5.00</strong>' in shown.text
        assert shown.headers["cache-control"] == "no-store"
        _, stranger, _ = town.owned()
        assert stranger.get(link).status_code == 404
        assert town.human().get(link).headers["location"] == "/owner/sign-in"


MANY = 3_000
"""So many receipts that to look through all of them costs more than to ask an index, as it does with millions."""
SOUGHT = 1_234
RECEIPTS_OF_MANY = (
    """INSERT INTO billing.credit_quotes (organization_id, id, agent_id, idempotency_key, credits, price_cents,
         currency, payment_method, live_money, created_at, expires_at)
       SELECT md5('org' || n / 3)::uuid, md5('quote' || n)::uuid, gen_random_uuid(), n, 500, 500, 'USD',
         'stripe_checkout', false, now(), now() FROM generate_series(1, $1) AS n""",
    """INSERT INTO billing.payment_attempts (organization_id, id, agent_id, quote_id, idempotency_key, method, state,
         request_number, payable_until, created_at, updated_at, looked_at)
       SELECT md5('org' || n / 3)::uuid, md5('attempt' || n)::uuid, gen_random_uuid(), md5('quote' || n)::uuid, n,
         'stripe_checkout', 'succeeded', 1, now(), now(), now(), now() FROM generate_series(1, $1) AS n""",
    """INSERT INTO billing.receipts
       SELECT md5('org' || n / 3)::uuid, md5('receipt' || n)::uuid, md5('attempt' || n)::uuid, md5('quote' || n)::uuid,
         md5('operation' || n)::uuid, 500, 500, 0, 0, 500, 'USD', false, '{}', now(), now()
       FROM generate_series(1, $1) AS n""",
    """INSERT INTO billing.jobs (organization_id, id, agent_id, idempotency_key, fingerprint, operation, model_id,
         executor, request, price, units, credits, state, deadline, charged, capture_id, next_try_at, created_at,
         updated_at)
       SELECT md5('org' || n / 3)::uuid, md5('job' || n)::uuid, gen_random_uuid(), n, '', 'create', 'm',
         'e', '{}', '{}', 1, 7, 'completed', now(), 7, md5('operation' || n)::uuid, now(), now(), now()
       FROM generate_series(1, $1) AS n""",
    """INSERT INTO ledger.operations (lane, organization_id, seq, id, kind, scope, key, fingerprint, outcome, cause,
         posted_at, accounting_date, available_after, held_after, paid_after, lines, hash)
       SELECT 0, md5('org' || n / 3)::uuid, n % 3 + 1, md5('operation' || n)::uuid, 'grant', gen_random_uuid(), n,
         decode(md5(''), 'hex'), 'posted', 'paid', now(), current_date, 500, 0, 500, '{}', sha256('')
       FROM generate_series(1, $1) AS n""",
)
EVENTS_OF_MANY = """
    INSERT INTO billing.activity_events (organization_id, id, type, occurred_at, summary, subject_type, subject_id,
      status, links)
    SELECT md5('org' || n / 3)::uuid, gen_random_uuid(), 'credits.payment_backed_granted', now(), '', 'receipt', name,
      'succeeded', jsonb_build_object('receipt_id', name, 'quote_id', n)
    FROM unnest($1::text[]) WITH ORDINALITY AS told(name, n)"""


def named(kind, number):
    """The id that the rows of `MANY` have."""
    return UUID(md5(f"{kind}{number}".encode(), usedforsecurity=False).hexdigest())


@pytest.fixture
def apart(new_databases):
    """A database that nobody else uses."""
    return new_databases("receipts")


@pytest.fixture
async def many(apart):
    """The service's sessions on a database with many receipts, and what explains its statements."""
    owner = await asyncpg.connect(apart.owner_url)
    await owner.execute("SET session_replication_role = replica")
    for statement in RECEIPTS_OF_MANY:
        await owner.execute(statement, MANY)
    await owner.execute(EVENTS_OF_MANY, [external("receipt", named("receipt", n + 1)) for n in range(MANY)])
    await owner.execute("ANALYZE")
    on = engine_of(async_url(apart.run_url), "receipts")
    yield sessions(on), owner
    await on.dispose()
    await owner.close()


async def test_a_receipt_is_found_by_its_id_without_a_look_at_the_others(many):
    of, owner = many
    sent = []

    def asked(_, __, statement, parameters, *___):
        sent.append((statement, parameters))

    event.listen(of.kw["bind"].sync_engine, "before_cursor_execute", asked)
    for kind in ("receipt", "job"):
        async with snapshot(of) as session:
            whose = await receipts.organization_of(session, named(kind, SOUGHT))
            found = await receipts.statement(session, whose, named(kind, SOUGHT))
        assert whose == named("org", SOUGHT // 3)
        assert found["receipt_id"] == external("receipt", named(kind, SOUGHT))
    async with snapshot(of) as session:
        with pytest.raises(Refused) as refused:
            await receipts.organization_of(session, named("nothing", SOUGHT))
    assert refused.value.refusal is Refusal.NOT_FOUND
    tables = ("activity_events", "jobs", "receipts", "payment_attempts", "credit_quotes", "operations")
    looked = {table: [each for each in sent if f".{table} " in each[0]] for table in tables}
    for statement, parameters in (each for those in looked.values() for each in those):
        plan = "\n".join(row[0] for row in await owner.fetch(f"EXPLAIN {statement}", *parameters))
        assert "Index" in plan, (statement, plan)
        assert "Seq Scan" not in plan, (statement, plan)
    assert all(looked.values()), looked

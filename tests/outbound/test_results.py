"""What is a result of a job, to the byte."""

import json
from decimal import ROUND_CEILING, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbound.calling import ASSETS_MAX, RESULT_BYTES_MAX, BadResult, read_result
from outbound.executor import Cause, Made, NotMade

JOB = "job_01jd9x8g000000000000000000"
ASSET = {"asset_id": "image_1"}
DONE = {"job_id": JOB, "status": "completed"}
FAILED = {"job_id": JOB, "status": "failed", "reason": "provider_failure"}


def result(said):
    job_id, read = read_result(said if isinstance(said, bytes) else json.dumps(said).encode())
    assert job_id == JOB
    return read


def test_a_result_may_say_little():
    assert result(DONE) == Made()
    assert result({**DONE, "assets": [], "units": None, "provider_cost_usd": None}) == Made()
    assert result(FAILED) == NotMade(Cause.PROVIDER_FAILURE)


def test_an_asset_is_kept_as_it_was_said():
    asset = {
        "asset_id": "video_a.b-c_D", "url": "https://cdn.example/v.mp4?sig=%2F", "width": 640, "duration_s": 2.5,
        "alt": "a café 🌃", "tags": ["x", None, True, {"deep": [1]}],
    }  # fmt: skip
    made = result({**DONE, "assets": [asset]})
    assert made.assets == (asset,)
    assert json.loads(json.dumps(made.assets[0])) == asset


@pytest.mark.parametrize("prefix", ["image", "video", "audio", "mask", "thumb", "file", "asset"])
def test_asset_ids_have_the_prefixes_of_the_contract(prefix):
    assert result({**DONE, "assets": [{"asset_id": f"{prefix}_{'x' * 128}"}]}).assets


@pytest.mark.parametrize(
    "asset",
    [
        None, "image_1", [], {}, {"asset_id": None}, {"asset_id": 1}, {"asset_id": "image_"}, {"asset_id": "img_1"},
        {"asset_id": "image_a b"}, {"asset_id": "image_é"}, {"asset_id": "image_1\n"},
        {"asset_id": "image_" + "x" * 129},
        {**ASSET, "url": 1}, {**ASSET, "url": ""}, {**ASSET, "url": "ftp://x/"},
        {**ASSET, "url": "javascript:alert(1)"},
        {**ASSET, "url": "https://"}, {**ASSET, "url": "https://x/ y"}, {**ASSET, "url": "https://x/\n"},
        {**ASSET, "url": "https://x/" + "y" * 2039}, {**ASSET, "n": 2**53}, {**ASSET, "n": -(2**53)},
        {**ASSET, "a": "\x00"}, {**ASSET, "\x00": 1}, {**ASSET, "a": ["\ud800"]}, {**ASSET, "a": {"\udfff": 1}},
        {**ASSET, "a": [[[[[[[[[]]]]]]]]]},
    ],
)  # fmt: skip
def test_an_asset_that_could_not_be_kept_or_shown_is_refused(asset):
    with pytest.raises(BadResult):
        result({**DONE, "assets": [asset]})


def test_assets_are_a_bounded_list_without_repetitions():
    assets = [{"asset_id": f"image_{n}"} for n in range(ASSETS_MAX + 1)]
    assert len(result({**DONE, "assets": assets[:-1]}).assets) == ASSETS_MAX
    others: list[object] = [assets, [ASSET, ASSET], {}, "image_1", 1, None]
    for bad in others:
        with pytest.raises(BadResult, match="asset"):
            result({**DONE, "assets": bad})


@pytest.mark.parametrize("units", [0, 1, 10_000])
def test_units_are_a_whole_number(units):
    assert result({**DONE, "units": units}).units == units


@pytest.mark.parametrize("units", [-1, 10_001, 1.0, 1e3, "1", True, [], 10**400])
def test_other_units_are_refused(units):
    with pytest.raises(BadResult, match="units"):
        result({**DONE, "units": units})


@pytest.mark.parametrize(
    ("cost", "micro"),
    [
        ('"0.05"', 50_000), ("0.05", 50_000), ('"0"', 0), ("0", 0), ("-0.0", 0), ("1", 1_000_000), ("5e-05", 50),
        ("1E-7", 1), ('"0.0000001"', 1), ('"0.000001"', 1), ('"0.0000010000000000000001"', 2), ("1e-60", 1),
        ("0.30000000000000004", 300_001), ('"1000000"', 10**12), ("1e6", 10**12), ("0.1", 100_000), ('"00.1"', 100_000),
        ("null", None),
    ],
)  # fmt: skip
def test_a_cost_is_read_exactly_and_rounded_up_to_a_millionth(cost, micro):
    read = result(f'{{"job_id":"{JOB}","status":"completed","provider_cost_usd":{cost}}}'.encode())
    assert read.cost_micro_usd == micro
    assert type(read.cost_micro_usd) in (int, type(None))


@given(st.decimals(0, 1_000_000, places=12))
def test_no_cost_is_ever_rounded_down(cost):
    expected = int((cost * 10**6).to_integral_value(ROUND_CEILING))
    for written in (f'"{cost:f}"', f"{cost:f}", f"{cost:e}"):
        said = f'{{"job_id":"{JOB}","status":"completed","provider_cost_usd":{written}}}'
        assert result(said.encode()).cost_micro_usd == expected >= cost * Decimal(10) ** 6


@pytest.mark.parametrize(
    "cost",
    [
        "-0.01", '"-0.01"', "1000001", '"1000000.0001"', "1e7", "1e99", "1e-61", "1e999999999999999999999", "true",
        "[]",
        '""', '" 0.05"', '"0.05 "', '"$0.05"', '"0,05"', '"1e-2"', '"NaN"', '"Infinity"', "NaN", "Infinity",
        "-Infinity",
        '"٣"', '"0."', '".5"', '"0x1"', '"1_000"', "0." + "1" * 60, '"0.' + "1" * 60 + '"', "9" * 5000,
    ],
)  # fmt: skip
def test_a_cost_that_is_none_is_refused(cost):
    with pytest.raises(BadResult):
        result(f'{{"job_id":"{JOB}","status":"completed","provider_cost_usd":{cost}}}'.encode())


@pytest.mark.parametrize("reason", list(Cause))
def test_each_reason_is_read(reason):
    assert result({**FAILED, "reason": reason.value, "message": "why"}) == NotMade(reason, "why")


@pytest.mark.parametrize(
    "said", [{"reason": None}, {"reason": "other"}, {"reason": []}, {"reason": "PROVIDER_FAILURE"}]
)
def test_another_reason_is_refused(said):
    with pytest.raises(BadResult, match="provider_failure, content_policy, artifact_storage"):
        result({**FAILED, **said})


def test_a_long_message_is_cut_and_a_strange_one_refused():
    assert len(result({**FAILED, "message": "é" * 5000}).message) == 500
    assert result({**FAILED, "message": ""}).message == ""
    others: list[object] = [1, [], {}, "\x00", "\ud800"]
    for message in others:
        with pytest.raises(BadResult):
            result({**FAILED, "message": message})


@pytest.mark.parametrize(
    "said",
    [{**DONE, "unit": 1}, {**DONE, "reason": "provider_failure"}, {**DONE, "message": ""}, {**FAILED, "assets": []}],
)
def test_a_field_that_does_not_belong_there_is_refused_by_naming_those_that_do(said):
    with pytest.raises(BadResult, match="job_id"):
        result(said)


@pytest.mark.parametrize("job_id", [None, "", 1, [], "job_", "job_1", JOB.upper(), JOB + "0", "quote_" + JOB[4:]])
def test_a_posted_result_names_its_job(job_id):
    with pytest.raises(BadResult, match="job_id"):
        read_result(json.dumps({**DONE, "job_id": job_id}).encode())


@pytest.mark.parametrize("status", [None, "", "Completed", "planned", True, {}])
def test_another_status_is_refused(status):
    with pytest.raises(BadResult, match="status"):
        result({**DONE, "status": status})


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"null", b"[]", b'"x"', b"1", b"\xff", b"\xef\xbb\xbf{}", b"{}{}", b"[" * 60_000, b'{"a":' * 10_000,
        json.dumps(DONE).encode("utf-16"), json.dumps(DONE).encode("utf-32"), json.dumps(DONE).encode() + b"\x00",
        b'{"job_id":"' + JOB.encode() + b'","status":"completed","status":"failed"}',
        json.dumps(DONE).encode() + b" " * RESULT_BYTES_MAX,
    ],
    ids=range(16),
)  # fmt: skip
def test_what_is_not_one_json_object_read_by_everybody_alike_is_refused(body):
    with pytest.raises(BadResult):
        read_result(body)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode(errors="replace")))
def test_nothing_that_is_posted_raises_anything_else(body):
    with pytest.raises(BadResult):
        read_result(body)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["assets", "units", "provider_cost_usd", "reason", "message"]), _JSON), _JSON)
def test_no_field_of_a_result_can_hold_what_breaks_us(fields, extra):
    for said in ({**DONE, **fields}, {**FAILED, **fields}, {**DONE, "assets": [{**ASSET, "extra": extra}]}):
        try:
            read = result(said)
        except BadResult:
            continue
        if isinstance(read, Made):
            json.dumps(read.assets, allow_nan=False, ensure_ascii=False).encode()

import io
import json

import pytest
from PIL import Image

from ledger.ids import external, uuid7
from outbound.calling import read_result
from outbound.executor import Made
from outbound.placeholder import SIDE, Placeholder, picture


async def test_each_unit_becomes_a_picture_at_once(work):
    made = await Placeholder().perform(work)
    assert [asset["asset_id"] for asset in made.assets] == [
        "image_01jd9x8g000000000000000000_1",
        "image_01jd9x8g000000000000000000_2",
    ]
    assert (made.units, made.cost_micro_usd) == (2, None)
    assert await Placeholder().perform(work) == made


async def test_what_it_makes_would_be_taken_as_a_posted_result(work):
    made = await Placeholder().perform(work)
    body = {"job_id": work.job_id, "status": "completed", "assets": list(made.assets), "units": made.units}
    assert read_result(json.dumps(body).encode()) == (work.job_id, Made(made.assets, 2))


def test_a_picture_is_a_png_that_others_can_read():
    image = Image.open(io.BytesIO(picture("image_1")))
    image.load()
    assert (image.format, image.size) == ("PNG", (SIDE, SIDE))
    pixels = image.convert("RGB")
    assert len(pixels.getcolors() or []) == 2
    assert all(pixels.getpixel((x, y)) == pixels.getpixel((SIDE - 1 - x, y)) for x in range(SIDE) for y in range(SIDE))


def test_a_picture_is_small_and_the_same_whenever_it_is_asked_for():
    assert picture("image_1") == picture("image_1")
    assert len(picture("image_1")) < 1000


def test_different_assets_have_different_pictures(now):
    ids = [f"image_{external('job', uuid7(now, bytes([n] * 10)))[4:]}_1" for n in range(50)]
    assert len({picture(asset_id) for asset_id in ids}) == 50


@pytest.mark.parametrize("asset_id", ["", "é", "image_" + "x" * 10_000])
def test_any_id_has_a_picture(asset_id):
    Image.open(io.BytesIO(picture(asset_id))).verify()

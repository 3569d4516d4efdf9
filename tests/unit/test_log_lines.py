"""Log lines as JSON: whatever stands in one, it is written."""

import json

import pytest

from api.logs import as_json


class Unknown:
    def __repr__(self):
        return "unknown"


@pytest.mark.parametrize("value", ["é", "\ud800", 2**80, None, 1.5, ["a"]])
def test_a_line_reads_back_as_it_was_meant(value):
    line = as_json({"event": "request", "value": value}, default=repr)
    assert b"\n" not in line
    assert json.loads(line) == {"event": "request", "value": value}


def test_what_json_does_not_have_is_written_as_it_names_itself():
    assert json.loads(as_json({"value": Unknown(), "half": "\ud800"}, default=repr))["value"] == "unknown"
    assert json.loads(as_json({"value": Unknown()}, default=repr)) == {"value": "unknown"}

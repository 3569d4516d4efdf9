"""The shape of JSON values as a JSON schema: of one value, of several together, and whether a value has it."""

import re
from typing import Any

DEPTH_MAX = 3
"""Below this, only types are told."""
_NAME = re.compile(r"[a-z][a-z0-9_]*")
FREE = frozenset({"model_parameters", "parameters", "parameter_schema", "accepted_aliases", "body", "query", "headers",
                  "payload", "params", "metadata", "properties"})  # fmt: skip
"""Names of objects whose keys are not ours to say."""

Schema = dict[str, Any]


def shape_of(value: Any, name: str = "", depth: int = 0) -> Schema:
    """The schema of one value."""
    if isinstance(value, dict):
        return _object(value, name, depth)
    if isinstance(value, list):
        items = merged([shape_of(each, "", depth + 1) for each in value])
        return {"type": ["array"], **({"items": items} if items and depth < DEPTH_MAX else {})}
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
    return {"type": [kinds[type(value)]]}


def _object(value: dict[str, Any], name: str, depth: int) -> Schema:
    if name in FREE or depth >= DEPTH_MAX or not all(_NAME.fullmatch(key) for key in value):
        return {"type": ["object"], "additionalProperties": True}
    properties = {key: shape_of(inner, key, depth + 1) for key, inner in sorted(value.items())}
    return {"type": ["object"], "properties": properties, "required": sorted(properties)}


def cut(schema: Schema, depth: int = 0) -> Schema:
    """The schema with only types told below `DEPTH_MAX`."""
    found = dict(schema)
    if depth >= DEPTH_MAX:
        found.pop("items", None)
    elif "items" in found:
        found["items"] = cut(found["items"], depth + 1)
    if "properties" in found and depth >= DEPTH_MAX:
        del found["properties"], found["required"]
        found["additionalProperties"] = True
    elif "properties" in found:
        found["properties"] = {name: cut(each, depth + 1) for name, each in found["properties"].items()}
    return found


def merged(schemas: list[Schema]) -> Schema:
    """The schema that every one of these fits."""
    found: Schema = {}
    for schema in schemas:
        found = _both(found, schema) if found else schema
    return found


def _both(one: Schema, other: Schema) -> Schema:
    types = {*one["type"], *other["type"]}
    if {"integer", "number"} <= types:
        types.remove("integer")
    found: Schema = {"type": sorted(types)}
    if items := merged([each["items"] for each in (one, other) if "items" in each]):
        found["items"] = items
    objects = [each for each in (one, other) if "object" in each["type"]]
    if any("additionalProperties" in each for each in objects):
        found["additionalProperties"] = True
    elif objects:
        names = sorted({name for each in objects for name in each["properties"]})
        found["properties"] = {
            name: merged([each["properties"][name] for each in objects if name in each["properties"]]) for name in names
        }
        found["required"] = sorted(set.intersection(*(set(each["required"]) for each in objects)))
    return found


def misfit(value: Any, schema: Schema, path: str = "data") -> str | None:
    """Why the value has not the shape, and where; none when it has. Stricter than JSON schema: no field is unknown.

    What was only ever null has no shape yet.
    """
    if schema.get("type") == ["null"]:
        return None
    kinds = shape_of(value, depth=DEPTH_MAX)["type"]
    known = set(schema["type"]) if "type" in schema else set(kinds)
    if not set(kinds) <= known | ({"integer"} if "number" in known else set()):
        return f"{path} is {kinds[0]} and not {' or '.join(sorted(known))}"
    if isinstance(value, list) and "items" in schema:
        found = (misfit(each, schema["items"], f"{path}[]") for each in value)
        return next((why for why in found if why), None)
    if isinstance(value, dict) and "properties" in schema:
        if missing := [name for name in schema["required"] if name not in value]:
            return f"{path} has no {', '.join(sorted(missing))}"
        if unknown := set(value) - set(schema["properties"]):
            return f"{path} has {', '.join(sorted(unknown))}, of which the document says nothing"
        inner = (misfit(each, schema["properties"][name], f"{path}.{name}") for name, each in value.items())
        return next((why for why in inner if why), None)
    return None


def breadth(value: Any) -> int:
    """How many fields a value shows."""
    if isinstance(value, dict):
        return sum(1 + breadth(each) for each in value.values())
    return max((breadth(each) for each in value), default=0) if isinstance(value, list) else 0

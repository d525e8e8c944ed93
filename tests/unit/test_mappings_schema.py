"""The published JSON Schema and the presets agree with what is read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from mappings import presets
from mappings.document import MappingFile
from mappings.schema import mapping_schema
from mappings.yamlfile import parse
from syncd.config import config_schema
from tests.unit.mapping_lab import SKETCH, problems_of

SCHEMAS = {"mapping": mapping_schema, "config": config_schema}


def nodes(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from nodes(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from nodes(value)


@pytest.mark.parametrize("name", SCHEMAS)
def test_it_is_draft_7(name: str) -> None:
    schema = SCHEMAS[name]()
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert json.loads(json.dumps(schema)) == schema
    later = {"$defs", "prefixItems", "unevaluatedProperties", "dependentRequired", "minContains", "$dynamicRef"}
    for node in nodes(schema):
        assert not later & node.keys()
        if isinstance(node.get("$ref"), str):
            assert list(node) == ["$ref"], "draft 7 ignores what stands beside a reference"
            assert node["$ref"].removeprefix("#/definitions/") in schema["definitions"]
        if isinstance(node.get("pattern"), str):
            re.compile(node["pattern"])


def test_unknown_keys_are_refused_by_the_schema_too() -> None:
    for name, make in SCHEMAS.items():
        for node in nodes(make()):
            if node.get("type") == "object" and "properties" in node:
                assert node["additionalProperties"] is False, (name, node.get("title"))


def accepts(schema: dict[str, Any], value: Any, node: dict[str, Any]) -> bool:
    """As much of draft 7 as our schemas use."""
    if "$ref" in node:
        return accepts(schema, value, schema["definitions"][node["$ref"].rpartition("/")[2]])
    if not all(accepts(schema, value, part) for part in node.get("allOf", [])):
        return False
    choices = node.get("anyOf") or node.get("oneOf")
    if choices and not any(accepts(schema, value, choice) for choice in choices):
        return False
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "number": int | float, "boolean": bool,
             "null": type(None)}
    wanted = [node["type"]] if isinstance(node.get("type"), str) else node.get("type", [])
    if wanted and not any(isinstance(value, kinds[kind]) for kind in wanted):
        return False
    if value not in node.get("enum", [value]) or value != node.get("const", value):
        return False
    if isinstance(value, str) and "pattern" in node and not re.search(node["pattern"], value):
        return False
    if isinstance(value, list):
        return all(accepts(schema, item, node.get("items", {})) for item in value)
    if isinstance(value, dict):
        if not set(node.get("required", [])) <= value.keys():
            return False
        for key, item in value.items():
            rules = [node["properties"][key]] if key in node.get("properties", {}) else []
            rules += [rule for pattern, rule in node.get("patternProperties", {}).items() if re.search(pattern, key)]
            rest = node.get("additionalProperties", {})
            if (not rules and rest is False) or not all(accepts(schema, item, rule) for rule in rules or [rest]):
                return False
    return True


@pytest.mark.parametrize(("old", "new"), [("", ""), ("opt_in: required", "opt_in: maybe"), ("rows:", "row:"),
                                          ("connection: mc", "connection: [mc]"), ("  offers:", "  Offers:")])
def test_the_schema_accepts_what_the_loader_accepts(old: str, new: str) -> None:
    data = parse(SKETCH.replace(old, new), "m.yaml").data
    schema = mapping_schema()
    try:
        MappingFile.model_validate(data)
        loads = True
    except ValueError:
        loads = False
    assert accepts(schema, data, schema) is loads
    assert loads is (old == new)


def test_the_presets_are_ready() -> None:
    assert presets.names() == ("salesforce_odoo_marketing_cloud",)
    for name in presets.names():
        assert problems_of(presets.text(name)) == []
    with pytest.raises(KeyError):
        presets.text("../document")

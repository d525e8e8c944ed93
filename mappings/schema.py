"""The published JSON Schema of the mapping file, for editors: draft 7, which they all read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel


def mapping_schema() -> dict[str, Any]:
    """The JSON Schema of one mapping file. It says what is spelled right; ``checks`` says what makes sense."""
    from mappings.document import MappingFile

    return draft7(MappingFile, "syncd mapping")


def draft7(model: type[BaseModel], title: str) -> dict[str, Any]:
    """A model's schema in draft 7: the definitions under their old name, no vocabulary of later drafts."""
    schema = _rename(model.model_json_schema(by_alias=True))
    return {"$schema": "http://json-schema.org/draft-07/schema#", **schema, "title": title}


def _rename(node: Any) -> Any:
    if isinstance(node, list):
        return [_rename(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        # Draft 7 ignores what stands beside a $ref, so a description must go around it.
        beside = {key: _rename(value) for key, value in node.items() if key not in ("$ref", "default")}
        reference = {"$ref": node["$ref"].replace("#/$defs/", "#/definitions/")}
        return {**beside, "allOf": [reference]} if beside else reference
    renamed = {"$defs": "definitions"}
    if "patternProperties" in node:
        node = {"additionalProperties": False, **node}  # a key of another spelling is refused, not let through
    # "discriminator" is OpenAPI's; the tags' const says the same.
    return {renamed.get(key, key): _rename(value) for key, value in node.items()
            if not (key == "discriminator" and isinstance(value, dict) and "propertyName" in value)}

"""What is checked and changed on every save: required fields, the admin's validation rules and flows, duplicates."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from . import soql, values
from .db import Database, Row, fold
from .errors import Refused
from .evaluate import Engine, Predicate
from .options import Options
from .schema import ObjectDef


@dataclass(frozen=True, slots=True)
class Rule:
    """A validation rule: a save that leaves a row for which ``when`` holds is refused."""

    when: Predicate
    message: str
    field: str | None


@dataclass(frozen=True, slots=True)
class Flow:
    when: Predicate
    set: Row


class Rules:
    """The admin's automation, compiled once."""

    def __init__(self, db: Database, engine: Engine, options: Options) -> None:
        self.db = db
        self._rules: dict[str, list[Rule]] = {}
        self._flows: dict[str, list[Flow]] = {}
        self._duplicates = list(options.duplicate_rules)
        self._unique_fields = {name: [f.name for f in spec.fields.values() if f.unique]
                               for name, spec in db.schema.items()}
        for rule in options.validation_rules:
            object = rule["object"]
            when = engine.predicate(object, soql.parse_condition(rule["when"]))
            self._rules.setdefault(object, []).append(Rule(when, rule["message"], rule.get("field")))
        for flow in options.flows:
            object = flow["object"]
            fields = db.schema[object].fields
            set = {name: values.coerce(fields[name], value) for name, value in flow["set"].items()}
            when = engine.predicate(object, soql.parse_condition(flow["when"]))
            self._flows.setdefault(object, []).append(Flow(when, set))

    def before_save(self, object: str, row: Row) -> Row:
        """The row after the organisation's flows: they may revert what the caller just set."""
        for flow in self._flows.get(object, ()):
            if flow.when(row):
                row = compact({**row, **flow.set})
        return row

    def check(self, object: str, row: Row, old: Row | None, *, allow_duplicates: bool, required: Iterable[str]) -> None:
        """Refuse a row that breaks a rule; the first class of failure found is reported, as in one save.

        :raises Refused:
        """
        spec = self.db.schema[object]
        if old is None:
            missing = [name for name in required if row.get(name) is None]
        else:
            missing = [name for name in required if row.get(name) is None and old.get(name) is not None]
        if missing:
            raise Refused("REQUIRED_FIELD_MISSING", f"Required fields are missing: [{', '.join(missing)}]", missing)
        for rule in self._rules.get(object, ()):
            if rule.when(row):
                raise Refused("FIELD_CUSTOM_VALIDATION_EXCEPTION", rule.message, [rule.field] if rule.field else [])
        self._unique(spec, row, old)
        if not allow_duplicates:
            self._duplicate(spec, row, old)

    def _unique(self, spec: ObjectDef, row: Row, old: Row | None) -> None:
        for name in self._unique_fields[spec.name]:
            value = row.get(name)
            if value is None or (old is not None and fold(old.get(name)) == fold(value)):
                continue
            for other in self.db.tables[spec.name].lookup(name, [value]):
                if other["Id"] != row["Id"] and not other.get("IsDeleted"):
                    raise duplicate_value(name, other["Id"])

    def _duplicate(self, spec: ObjectDef, row: Row, old: Row | None) -> None:
        event = "create" if old is None else "update"
        for rule in self._duplicates:
            names = rule["fields"]
            if rule["object"] != spec.name or event not in rule.get("on", ("create",)):
                continue
            if any(row.get(n) is None for n in names):
                continue
            for other in self.db.tables[spec.name].lookup(names[0], [row[names[0]]]):
                if other["Id"] == row["Id"] or other.get("IsDeleted"):
                    continue
                if all(fold(other.get(n)) == fold(row[n]) for n in names):
                    raise _duplicates_detected(spec.name, other["Id"])


def duplicate_value(name: str, record: str) -> Refused:
    """A unique field already holds the value on that record."""
    return Refused("DUPLICATE_VALUE",
                   f"duplicate value found: {name} duplicates value on record with id: {record[:15]}")


def _duplicates_detected(object: str, record: str) -> Refused:
    match = {"additionalInformation": [], "fieldDiffs": [], "matchConfidence": 100.0,
             "record": {"attributes": {"type": object}, "Id": record}}
    found = {"entityType": object, "errors": [], "matchEngine": "FuzzyMatchEngine", "matchRecords": [match],
             "rule": f"Standard_{object}_Match_Rule", "size": 1, "success": True}
    result = {"allowSave": True, "duplicateRule": f"Standard_{object}_Duplicate_Rule",
              "duplicateRuleEntityType": object, "errorMessage": "Use one of these records?", "matchResults": [found]}
    return Refused("DUPLICATES_DETECTED", "Use one of these records?", extra={"duplicateResult": result})


def compact(row: Row) -> Row:
    """The row without keys that say nothing: null, and false for a checkbox."""
    return {k: v for k, v in row.items() if v is not None and v is not False}



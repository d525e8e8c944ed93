"""Objects and fields of the simulated organisation, and how they are described."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from . import consent, standard

TEXT_TYPES = frozenset({"string", "textarea", "email", "phone", "url", "picklist", "multipicklist", "anyType", "id",
                        "reference", "combobox"})
NUMBER_TYPES = frozenset({"double", "currency", "percent", "int"})
_SOAP = {"boolean": "xsd:boolean", "int": "xsd:int", "double": "xsd:double", "currency": "xsd:double",
         "percent": "xsd:double", "date": "xsd:date", "datetime": "xsd:dateTime", "id": "tns:ID", "reference": "tns:ID",
         "anyType": "xsd:anyType"}
_ALIASES = {"text": "string", "checkbox": "boolean", "number": "double", "long_text": "textarea"}


@dataclass(frozen=True, slots=True)
class FieldDef:
    """One field. ``person`` names the contact field an account field stands for; ``formula`` is a path through parents
    ("Account.Industry") whose value is read anew each time and moves no stamp."""

    name: str
    type: str
    length: int = 0
    required: bool = False
    createable: bool = True
    updateable: bool = True
    filterable: bool = True
    sortable: bool = True
    external: bool = False
    unique: bool = False
    restricted: bool = False
    values: tuple[str, ...] = ()
    inactive: tuple[str, ...] = ()
    reference_to: tuple[str, ...] = ()
    formula: tuple[str, ...] | None = None
    person: str | None = None
    default: Any = None
    label: str = ""

    @property
    def custom(self) -> bool:
        return self.name.endswith(("__c", "__pc"))

    @property
    def relationship(self) -> str | None:
        if self.type != "reference" or not self.reference_to:
            return None
        return self.name[:-1] + "r" if self.name.endswith("__c") else self.name.removesuffix("Id")

    def describe(self) -> dict[str, Any]:
        """The element of ``fields`` in a describe answer."""
        numeric = self.type in ("double", "currency", "percent")
        return {
            "name": self.name, "label": self.label or _label(self.name), "type": self.type, "length": self.length,
            "byteLength": self.length * 3, "precision": 18 if numeric else 0, "scale": 2 if numeric else 0,
            "digits": 9 if self.type == "int" else 0, "custom": self.custom,
            "nillable": not self.required and self.type not in ("boolean", "id"), "createable": self.createable,
            "updateable": self.updateable, "calculated": self.formula is not None,
            "calculatedFormula": ".".join(self.formula) if self.formula else None,
            "defaultedOnCreate": self.type == "boolean" or self.default is not None, "defaultValue": self.default,
            "externalId": self.external, "idLookup": self.external or self.type in ("id", "email"),
            "unique": self.unique, "filterable": self.filterable, "sortable": self.sortable, "groupable": True,
            "permissionable": self.name not in ("Id", "LastName", "SystemModstamp", "IsDeleted"),
            "referenceTo": list(self.reference_to), "relationshipName": self.relationship,
            "picklistValues": [{"value": v, "label": v, "active": v not in self.inactive,
                                "defaultValue": v == self.default,
                                "validFor": None} for v in (*self.values, *self.inactive)],
            "restrictedPicklist": self.restricted, "controllerName": None, "compoundFieldName": None,
            "encrypted": False, "caseSensitive": False, "soapType": _SOAP.get(self.type, "xsd:string"),
        }


def _label(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.removesuffix("__c").removesuffix("__pc")).replace("_", " ")


@dataclass(frozen=True, slots=True)
class ObjectDef:
    """One object; ``stamp`` is the field its change index follows."""

    name: str
    prefix: str
    fields: dict[str, FieldDef]
    stamp: str = "SystemModstamp"
    history_of: str | None = None
    lower: dict[str, FieldDef] = field(default_factory=dict)
    relations: dict[str, FieldDef] = field(default_factory=dict)
    """Lower-case relationship name -> the reference field behind it; without those that may lead to several objects."""

    def index(self) -> ObjectDef:
        """Fill the case-insensitive look-ups; called once after the last field was added."""
        self.lower.update({name.lower(): f for name, f in self.fields.items()})
        self.relations.update({f.relationship.lower(): f for f in self.fields.values()
                               if f.relationship and len(f.reference_to) == 1})
        return self

    @property
    def writable(self) -> bool:
        return self.history_of is None and self.name not in standard.READ_ONLY

    def describe(self, version: str, hidden: Iterable[str] = ()) -> dict[str, Any]:
        """The describe answer; fields in ``hidden`` are absent, as field-level security has it."""
        gone = set(hidden)
        return {**self.summary(version), "childRelationships": [], "recordTypeInfos": [],
                "fields": [f.describe() for f in self.fields.values() if f.name not in gone]}

    def summary(self, version: str) -> dict[str, Any]:
        """The element of the global describe."""
        base = f"/services/data/{version}/sobjects/{self.name}"
        custom = self.name.endswith("__c")
        return {"name": self.name, "label": _label(self.name), "labelPlural": _label(self.name) + "s",
                "keyPrefix": self.prefix,
                "custom": custom, "createable": self.writable, "updateable": self.writable, "deletable": self.writable,
                "undeletable": self.writable and self.name not in standard.NO_BIN, "queryable": True,
                "retrieveable": True,
                "searchable": self.writable, "replicateable": True, "layoutable": self.writable,
                "triggerable": self.writable,
                "mergeable": self.name in ("Account", "Contact", "Lead"), "activateable": False, "feedEnabled": False,
                "urls": {"sobject": base, "describe": base + "/describe", "rowTemplate": base + "/{ID}"}}


def parse_fields(text: str) -> dict[str, FieldDef]:
    """Field definitions from the lines ``standard`` is written in."""
    out: dict[str, FieldDef] = {}
    for line in filter(None, text.splitlines()):
        head, _, values = line.partition(": ")
        name, kind, *words = head.split()
        f = FieldDef(name, kind, length=18 if kind in ("id", "reference") else 0,
                     values=tuple(values.split("|")) if values else ())
        for word in words:
            f = _with_word(f, word)
        out[name] = f
    return out


def _with_word(f: FieldDef, word: str) -> FieldDef:
    if word.isdigit():
        return replace(f, length=int(word))
    if word.startswith("->"):
        return replace(f, reference_to=tuple(word[2:].split(",")))
    changes: dict[str, dict[str, Any]] = {
        "required": {"required": True}, "computed": {"createable": False, "updateable": False},
        "create": {"updateable": False}, "nofilter": {"filterable": False}, "restricted": {"restricted": True},
    }
    return replace(f, **changes[word])


def custom_field(name: str, spec: str | Mapping[str, Any]) -> FieldDef:
    """A custom field from an option: a type word, or a mapping with ``type`` and any of ``length``, ``values``,
    ``inactive``, ``restricted``, ``external_id``, ``unique``, ``required``, ``default``, ``label``, ``formula`` (a
    path), ``reference`` (an object).

    :raises ValueError: an unknown key
    """
    given = dict({"type": spec} if isinstance(spec, str) else spec)
    kind = str(given.pop("type", "string"))
    kind = _ALIASES.get(kind, kind)
    formula = given.pop("formula", None)
    reference = given.pop("reference", None)
    values = {"length": given.pop("length", 255 if kind in TEXT_TYPES else 0), "values": tuple(given.pop("values", ())),
              "inactive": tuple(given.pop("inactive", ())), "restricted": bool(given.pop("restricted", False)),
              "external": bool(given.pop("external_id", False)), "unique": bool(given.pop("unique", False)),
              "required": bool(given.pop("required", False)), "default": given.pop("default", None),
              "label": given.pop("label", "")}
    if given:
        raise ValueError(f"custom field {name}: unknown keys {sorted(given)}")
    f = FieldDef(name, kind, **values)
    if formula:
        f = replace(f, formula=tuple(formula.split(".")), createable=False, updateable=False)
    return replace(f, reference_to=(reference,), type="reference", length=18) if reference else f


def build(custom: Mapping[str, Mapping[str, Any]], *, person_accounts: bool, multi_currency: bool, connect: bool,
          data_protection: bool, tracked: Mapping[str, Iterable[str]]) -> dict[str, ObjectDef]:
    """All objects of the organisation by name."""
    out: dict[str, ObjectDef] = {}
    for name, (prefix, text) in standard.OBJECTS.items():
        fields = parse_fields(standard.SYSTEM + text.strip() + standard.STAMPS)
        if multi_currency and name in standard.CURRENCY_OBJECTS:
            fields["CurrencyIsoCode"] = FieldDef("CurrencyIsoCode", "picklist", 3, values=("EUR", "USD", "GBP", "CHF"),
                                                 default="EUR")
        out[name] = ObjectDef(name, prefix, fields)
    if data_protection:
        for name, (prefix, text) in consent.OBJECTS.items():
            fields = parse_fields(standard.SYSTEM + text.strip() + standard.STAMPS)
            out[name] = ObjectDef(name, prefix, fields)
        for name in consent.POINTING:
            out[name].fields.update(parse_fields("IndividualId reference ->Individual"))
    if connect:
        fields = parse_fields(standard.SYSTEM + standard.CONNECT.strip() + standard.STAMPS)
        out["et4ae5__SendDefinition__c"] = ObjectDef("et4ae5__SendDefinition__c", "a00", fields)
    for name, specs in custom.items():
        if name not in out:
            fields = parse_fields(standard.SYSTEM + "Name string 80" + standard.STAMPS)
            out[name] = ObjectDef(name, f"a{len(out):02d}", fields)
        out[name].fields.update({f: custom_field(f, spec) for f, spec in specs.items()})
    if person_accounts:
        _add_person_fields(out)
    for number, name in enumerate(tracked):
        parent = FieldDef(name + "Id", "reference", 18, createable=False, updateable=False, reference_to=(name,))
        fields = parse_fields(standard.SYSTEM) | {parent.name: parent} | parse_fields(standard.HISTORY)
        out[name + "History"] = ObjectDef(name + "History", f"0H{number}", fields, "CreatedDate", name)
    return {name: o.index() for name, o in out.items()}


def _add_person_fields(objects: Mapping[str, ObjectDef]) -> None:
    account, contact = objects["Account"].fields, objects["Contact"].fields
    own = parse_fields(standard.ACCOUNT_PERSON)
    for name in ("Salutation", "FirstName", "LastName"):
        own[name] = replace(own[name], person=name)
    account.update(own)
    for name in (*standard.PERSON_FIELDS, *(("IndividualId",) if "IndividualId" in contact else ())):
        account["Person" + name] = replace(contact[name], name="Person" + name, person=name, required=False)
    for name, f in contact.items():
        if f.custom:
            shown = name.removesuffix("__c") + "__pc"
            account[shown] = replace(f, name=shown, person=name, required=False)
    contact["IsPersonAccount"] = FieldDef("IsPersonAccount", "boolean", createable=False, updateable=False)

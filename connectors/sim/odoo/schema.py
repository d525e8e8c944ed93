"""Models and fields of the simulated database, by server version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

SUBSCRIPTION = "mailing.subscription"
OLD_SUBSCRIPTION = "mailing.contact.subscription"


class Field(NamedTuple):
    """A field. ``inverse`` names the field of ``relation`` a one2many (or virtual many2many) is computed from."""

    type: str
    label: str
    relation: str = ""
    store: bool = True
    readonly: bool = False
    indexed: bool = False
    inverse: str = ""
    selection: tuple[tuple[str, str], ...] = ()
    limit: int | None = None
    """Characters a custom module's constraint allows; Odoo's own text columns take any length."""

    def describe(self) -> dict[str, Any]:
        """The answer of ``fields_get`` for this field."""
        out: dict[str, Any] = {
            "type": self.type, "string": self.label, "store": self.store, "readonly": self.readonly, "required": False,
            "searchable": True, "sortable": self.store and self.type not in ("many2many", "one2many"),
            "company_dependent": False,
        }
        if self.relation:
            out["relation"] = self.relation
        if self.type == "selection":
            out["selection"] = [list(pair) for pair in self.selection]
        return out


@dataclass(slots=True)
class Model:
    """A model: its fields, its default order and the field that gives records their display name."""

    name: str
    label: str
    order: str
    rec_name: str = "name"
    fields: dict[str, Field] = field(default_factory=dict)
    foreign: list[tuple[str, str]] = field(default_factory=list)
    """(model, many2one field) pairs that refer to this model."""


# One field a line: name, type[=relation], flags, label. Flags: i indexed, c computed and not stored, r read-only,
# v=FIELD virtual: read from the relation's FIELD.
_SPECS: dict[tuple[str, str, str, str], str] = {
    ("res.partner", "Contact", "complete_name, id desc", "name"): """
        name char - Name
        complete_name char cr Complete Name
        email char - Email
        email_normalized char ri Normalized Email
        email_formatted char cr Formatted Email
        is_company boolean - Is a Company
        parent_id many2one=res.partner i Related Company
        child_ids one2many=res.partner v=parent_id Contact
        commercial_partner_id many2one=res.partner cr Commercial Entity
        type selection - Address Type
        category_id many2many=res.partner.category - Tags
        lang char - Language
        country_id many2one=res.country - Country
        street char - Street
        city char - City
        zip char - Zip
        function char - Job Position
        phone char - Phone
        mobile char - Mobile
        phone_sanitized char r Sanitized Number
        website char - Website Link
        ref char - Reference
        vat char - Tax ID
        comment html - Notes
        color integer - Color Index
        user_id many2one=res.users - Salesperson
        company_id many2one=res.company - Company
        company_name char - Company Name
        active boolean - Active
        customer_rank integer - Customer Rank
        supplier_rank integer - Supplier Rank
        is_blacklisted boolean cr Blacklist
        message_bounce integer - Bounce""",
    ("res.partner.category", "Partner Tags", "name, id", "name"): """
        name char - Name
        color integer - Color
        parent_id many2one=res.partner.category - Category
        active boolean - Active
        partner_ids many2many=res.partner v=category_id Partners""",
    ("crm.lead", "Lead/Opportunity", "priority desc, id desc", "name"): """
        name char - Opportunity
        type selection - Type
        stage_id many2one=crm.stage - Stage
        probability float - Probability
        automated_probability float r Automated Probability
        is_automated_probability boolean cr Is automated probability?
        active boolean - Active
        priority char - Priority
        expected_revenue monetary - Expected Revenue
        email_from char - Email
        email_normalized char ri Normalized Email
        partner_id many2one=res.partner i Customer
        partner_name char - Company Name
        contact_name char - Contact Name
        function char - Job Position
        phone char - Phone
        tag_ids many2many=crm.tag - Tags
        lost_reason_id many2one=crm.lost.reason - Lost Reason
        date_closed datetime r Closed Date
        date_last_stage_update datetime r Last Stage Update
        date_deadline date - Expected Closing
        lang_id many2one=res.lang - Language
        country_id many2one=res.country - Country
        user_id many2one=res.users - Salesperson
        team_id many2one=crm.team - Sales Team
        company_id many2one=res.company - Company
        is_blacklisted boolean cr Blacklist
        message_bounce integer - Bounce""",
    ("crm.stage", "CRM Stages", "sequence, name, id", "name"): """
        name char - Stage Name
        sequence integer - Sequence
        is_won boolean - Is Won Stage?""",
    ("crm.tag", "CRM Tag", "id", "name"): "name char - Tag Name",
    ("crm.team", "Sales Team", "id", "name"): "name char - Sales Team",
    ("crm.lost.reason", "Opp. Lost Reason", "id", "name"): """
        name char - Description
        active boolean - Active""",
    ("mailing.contact", "Mailing Contact", "name, id desc", "name"): """
        name char - Name
        first_name char - First Name
        last_name char - Last Name
        company_name char - Company Name
        email char - Email
        email_normalized char ri Normalized Email
        country_id many2one=res.country - Country
        tag_ids many2many=res.partner.category - Tags
        list_ids many2many=mailing.list v=list_id Mailing Lists
        subscription_ids one2many=mailing.subscription v=contact_id Subscription Information
        opt_out boolean c Opt Out
        is_blacklisted boolean cr Blacklist
        message_bounce integer - Bounce""",
    ("mailing.list", "Mailing List", "name, id", "name"): """
        name char - Mailing List
        active boolean - Active
        is_public boolean - Show In Preferences
        contact_count integer cr Number of Contacts
        contact_ids many2many=mailing.contact v=contact_id Mailing Lists
        subscription_ids one2many=mailing.subscription v=list_id Subscription Information""",
    (SUBSCRIPTION, "Mailing List Subscription", "list_id desc, contact_id desc", "contact_id"): """
        contact_id many2one=mailing.contact i Contact
        list_id many2one=mailing.list i Mailing List
        opt_out boolean - Opt Out
        opt_out_reason_id many2one=mailing.subscription.optout - Reason
        opt_out_datetime datetime r Unsubscription Date
        is_blacklisted boolean cr Blacklist
        message_bounce integer cr Bounce""",
    ("mailing.subscription.optout", "Opt-Out Reason", "sequence, id", "name"): """
        name char - Reason
        sequence integer - Sequence
        is_feedback boolean - Ask For Feedback""",
    ("mail.blacklist", "Mail Blacklist", "id", "email"): """
        email char i Email Address
        active boolean - Active
        opt_out_reason_id many2one=mailing.subscription.optout - Reason""",
    ("mailing.mailing", "Mass Mailing", "id desc", "subject"): """
        subject char - Subject
        state selection - Status
        sent_date datetime - Sent Date
        mailing_model_real char - Recipients Real Model
        contact_list_ids many2many=mailing.list - Mailing Lists""",
    ("mailing.trace", "Mailing Statistics", "id desc", "email"): """
        email char i Email
        model char - Document model
        res_id integer - Document ID
        mass_mailing_id many2one=mailing.mailing i Mailing
        trace_status selection - Status
        failure_type selection - Failure type
        failure_reason text - Failure reason
        sent_datetime datetime - Sent On
        open_datetime datetime - Opened On
        reply_datetime datetime - Replied On
        links_click_datetime datetime - Clicked On""",
    ("res.users", "User", "name, login", "name"): """
        name char - Name
        login char i Login
        password char c Password
        active boolean - Active
        share boolean r Share User
        partner_id many2one=res.partner i Related Partner
        company_id many2one=res.company - Company
        company_ids many2many=res.company - Companies
        groups_id many2many=res.groups - Groups
        lang char - Language
        tz char - Timezone""",
    ("res.users.apikeys", "Users API Keys", "id", "name"): """
        name char r Description
        scope char r Scope
        user_id many2one=res.users ri User
        expiration_date datetime r Expiration Date""",
    ("res.groups", "Access Groups", "id", "name"): "name char - Name",
    ("ir.config_parameter", "System Parameter", "key", "key"): """
        key char - Key
        value text - Value""",
    ("res.company", "Companies", "id", "name"): "name char - Company Name",
    ("res.country", "Country", "name, id", "name"): """
        name char - Country Name
        code char - Country Code""",
    ("res.lang", "Languages", "id", "name"): """
        name char - Name
        code char - Locale Code
        iso_code char - ISO code
        active boolean - Active""",
}

_SELECTIONS: dict[tuple[str, str], tuple[str, ...]] = {
    ("res.partner", "type"): ("contact", "invoice", "delivery", "other"),
    ("crm.lead", "type"): ("lead", "opportunity"),
    ("mailing.mailing", "state"): ("draft", "in_queue", "sending", "done"),
    ("mailing.trace", "trace_status"): (
        "outgoing", "process", "pending", "sent", "open", "reply", "bounce", "error", "cancel"),
    ("mailing.trace", "failure_type"): (
        "unknown", "mail_bounce", "mail_email_invalid", "mail_email_missing", "mail_smtp", "mail_bl", "mail_dup",
        "mail_optout"),
}

_LOG_ACCESS: dict[str, Field] = {
    "id": Field("integer", "ID", readonly=True),
    "display_name": Field("char", "Display Name", store=False, readonly=True),
    "create_uid": Field("many2one", "Created by", "res.users", readonly=True),
    "create_date": Field("datetime", "Created on", readonly=True),
    "write_uid": Field("many2one", "Last Updated by", "res.users", readonly=True),
    "write_date": Field("datetime", "Last Updated on", readonly=True),
}


def _fields(model: str, text: str) -> Iterable[tuple[str, Field]]:
    for line in text.strip().splitlines():
        name, kind, flags, label = line.split(None, 3)
        kind, _, relation = kind.partition("=")
        virtual = flags.removeprefix("v=") if flags.startswith("v=") else ""
        marks = "" if virtual or flags == "-" else flags
        choices = _SELECTIONS.get((model, name), ())
        yield name, Field(kind, label, relation, "c" not in marks, "r" in marks, "i" in marks, virtual,
                          tuple((key, key.capitalize()) for key in choices))


def build(major: int, extra: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, Model]:
    """The models of server version ``major`` (15 … 19).

    ``extra`` adds custom fields: model -> name -> {"type", "string", "relation", "selection": [[key, label]], "limit"}.
    """
    models: dict[str, Model] = {}
    for (name, label, order, rec_name), text in _SPECS.items():
        models[name] = Model(name, label, order, rec_name, dict(_LOG_ACCESS) | dict(_fields(name, text)))
    if major <= 16:
        _before_17(models)
    if major < 17:
        for name in ("first_name", "last_name"):
            del models["mailing.contact"].fields[name]
    if major < 18:
        del models["res.users.apikeys"].fields["expiration_date"]
    if major >= 19:
        del models["res.partner"].fields["mobile"]
        models["res.users"].fields["group_ids"] = models["res.users"].fields.pop("groups_id")
    for name, fields in extra.items():
        for custom, spec in fields.items():
            pairs = tuple((str(key), str(title)) for key, title in spec.get("selection", ()))
            models[name].fields[custom] = Field(
                spec["type"], str(spec.get("string", custom)), spec.get("relation", ""), selection=pairs,
                limit=spec.get("limit"))
    for model in models.values():
        for name, info in model.fields.items():
            if info.type == "many2one" and info.store:
                models[info.relation].foreign.append((model.name, name))
    return models


def _before_17(models: dict[str, Model]) -> None:
    """15.0 and 16.0 name the subscription model otherwise and keep no reason."""
    model = models.pop(SUBSCRIPTION)
    model.name = OLD_SUBSCRIPTION
    del model.fields["opt_out_reason_id"]
    model.fields["unsubscription_date"] = model.fields.pop("opt_out_datetime")
    models[OLD_SUBSCRIPTION] = model
    del models["mail.blacklist"].fields["opt_out_reason_id"]
    del models["mailing.subscription.optout"]
    for name in ("mailing.contact", "mailing.list"):
        fields = models[name].fields
        fields["subscription_list_ids" if name == "mailing.contact" else "subscription_ids"] = (
            fields.pop("subscription_ids")._replace(relation=OLD_SUBSCRIPTION))

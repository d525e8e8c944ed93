"""Person accounts: consent objects, to which they point by a field of their own, and leads that become one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from connectors.salesforce import SalesforceConnector
from connectors.salesforce.wire.values import id18
from syncd.model import Batch, Field, Op, StreamSpec, Value
from tests.unit.salesforce_org import Org

EMAIL = "ContactPointTypeConsent.Email"
SPEC = StreamSpec("Account", fields=(Field("PersonEmail"), Field(EMAIL), Field(EMAIL + ".CaptureDate", "instant")))
PARTY = id18("0PK5g0000000001")


class Company(Org):
    """Two person accounts, ann with an Individual and bob without, beside the companies that there are."""

    def __init__(self) -> None:
        super().__init__(3, data_protection=True, person_accounts=True)
        self.sim.load({"Individual": [{"Id": PARTY, "LastName": "Ann"}]})
        self.people = {name: str(self.user("create", object="Account", set={
            "LastName": name, "PersonEmail": f"{name}@x.example"})["id"]) for name in ("ann", "bob")}
        self.user("edit", object="Account", id=self.people["ann"], set={"PersonIndividualId": PARTY})
        self.kernel.clock.advance(3600)

    def consent(self, status: str) -> str:
        """A row about ann that an employee makes."""
        return str(self.user("create", object="ContactPointTypeConsent", set={
            "Name": "n", "PartyId": PARTY, "ContactPointType": "Email", "PrivacyConsentStatus": status})["id"])

    def held(self) -> list[tuple[str, str]]:
        """(party, status) of all rows."""
        return sorted((str(r["PartyId"]), str(r["PrivacyConsentStatus"]))
                      for r in self.sim.db.tables["ContactPointTypeConsent"].rows.values())

    def individuals(self) -> int:
        return len(self.sim.db.tables["Individual"].rows)


@pytest.fixture
def company() -> Iterator[Company]:
    made = Company()
    yield made
    made.close()


def refuse(c: SalesforceConnector, *accounts: str) -> list[str]:
    ops = [Op(n, key, None, ("OptOut",)) for n, key in enumerate(accounts)]
    return [o.state for o in c.apply(Batch("update", "Account", (EMAIL,), ops))]


def test_their_places_are_described(company: Company) -> None:
    fields = {f.name for f in company.connect().describe(["Account"]).objects["Account"].fields}
    assert {"PersonIndividualId", EMAIL, EMAIL + ".CaptureDate"} <= fields


def test_a_consent_row_is_a_field_of_the_account_now_and_later(company: Company) -> None:
    c, at = company.connect(), SPEC.columns.index(EMAIL)
    consent = company.consent("OptOut")
    company.kernel.clock.advance(600)
    pages = list(c.changes(SPEC, None))
    found: dict[Value, Value] = {row[0]: row[at] for page in pages for row in page.rows}
    assert {found[id_] for name, id_ in company.people.items() if name == "ann"} == {"OptOut"}
    assert [value for id_, value in found.items() if id_ != company.people["ann"]] == [None] * (len(found) - 1)
    company.kernel.clock.advance(3600)
    company.user("edit", object="ContactPointTypeConsent", id=consent, set={"PrivacyConsentStatus": "OptIn"})
    company.kernel.clock.advance(60)
    later = [row for page in c.changes(SPEC, pages[-1].cursor) for row in page.rows]
    assert [(row[0], row[at]) for row in later] == [(company.people["ann"], "OptIn")]


def test_a_refusal_is_written_at_the_individual(company: Company) -> None:
    assert refuse(company.connect(), company.people["ann"], company.people["bob"]) == ["done", "rejected"]
    assert company.held() == [(PARTY, "OptOut")]


def test_an_individual_is_made_for_a_person_and_for_no_company(company: Company) -> None:
    firm = next(id_ for id_, row in company.sim.db.tables["Account"].rows.items() if not row.get("IsPersonAccount"))
    before = company.individuals()
    c = company.connect(create_individuals=True)
    assert refuse(c, company.people["bob"], firm) == ["done", "rejected"]
    assert company.individuals() == before + 1
    [(party, status)] = company.held()
    assert status == "OptOut"
    account = company.sim.db.tables["Account"].rows[company.people["bob"]]
    assert company.sim.db.tables["Contact"].rows[str(account["PersonContactId"])]["IndividualId"] == party


def test_whoever_is_forgotten_is_marked_at_the_individual(company: Company) -> None:
    [outcome] = company.connect().erase_records("Account", [company.people["ann"]], delete=False)
    assert outcome.state == "done"
    assert company.sim.db.tables["Individual"].rows[PARTY]["ShouldForget"] is True


# --------------------------------------------------------------------------- leads

LEADS = StreamSpec("Lead", fields=(Field("Email"),), becomes="Account")


def convert(company: Company, **more: Any) -> tuple[str, dict[str, Any]]:
    """A lead who refused all mail becomes a contact; the lead's id, and what it became."""
    lead = str(company.user("create", object="Lead", set={"LastName": "Lee", "Email": "lee@x.example",
                                                          "opted_out": True, **more.pop("set", {})})["id"])
    return id18(lead), company.user("convert", object="Lead", id=lead, **more)


def merged(connector: SalesforceConnector, spec: StreamSpec) -> dict[Value, Value]:
    at = spec.columns.index("merged_into")
    return {row[0]: row[at] for page in connector.changes(spec, None) for row in page.rows}


@pytest.mark.parametrize("bulk", [10_000, 0])
def test_a_lead_goes_on_as_the_account_of_the_person_it_became(company: Company, bulk: int) -> None:
    """Its refusal never reaches an account that was there: Salesforce leaves that one's flag as it is."""
    ann = company.sim.db.tables["Account"].rows[company.people["ann"]]
    company.user("edit", object="Account", id=company.people["ann"], set={"PersonEmail": "ann@elsewhere.example"})
    old, _ = convert(company, set={"Company": None}, into=str(ann["PersonContactId"]))
    firm, became = convert(company, set={"Company": "Co"})
    company.kernel.clock.advance(600)
    found = merged(company.connect(bulk_threshold=bulk), LEADS)
    assert (found[old], found[firm]) == (id18(company.people["ann"]), None), "nobody is a company"
    found = merged(company.connect(bulk_threshold=bulk), replace(LEADS, becomes="Contact"))
    assert (found[old], found[firm]) == (id18(str(ann["PersonContactId"])), id18(became["ConvertedContactId"]))

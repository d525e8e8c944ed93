"""One mailbox that vendors spell differently, on the simulated vendors."""

from __future__ import annotations

from pathlib import Path

from tests.system.acceptance_lab import Company


def test_who_refuses_at_the_provider_is_blocked_in_odoo_as_odoo_spells_her(tmp_path: Path) -> None:
    """Odoo keeps a domain as it was written, and matches its blacklist letter by letter: a row in the domain's ASCII form
    would keep none of its own mails from her."""
    with Company(tmp_path, 40) as company:
        contacts = {str(p["email"]).lower(): p for p in company.world("salesforce")["people"]
                    if p["object"] == "Contact" and p["email"]}
        partners = {str(p["email"]).lower(): p for p in company.world("odoo")["people"]
                    if p["object"] == "res.partner" and p["email"]}
        company.link()
        mailed = {str(e).lower() for e in company.send("tips")["mailed"]}
        contact = contacts[min(mailed & contacts.keys())]["id"]
        partner = partners[min(partners.keys() - contacts.keys())]["id"]
        company.user("salesforce", "edit", object="Contact", id=contact, set={"Email": "jo@xn--strae-oqa.example"})
        company.user("odoo", "edit", object="res.partner", id=partner, set={"email": "Jo@Straße.example"})
        company.cycle()
        company.cycle()
        assert "jo@xn--strae-oqa.example" in company.send("tips")["mailed"]
        assert company.recipient("unsubscribe", "jo@xn--strae-oqa.example", "all") == 1
        company.cycle()
        assert company.record("salesforce", contact)["opted_out"]
        found = company.record("odoo", partner)
        assert (found["email"], found["opted_out"]) == ("Jo@Straße.example", True)
        company.cycle()
        assert company.cli("audit")["disagreeing"] == 0

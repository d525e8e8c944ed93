"""A sandbox is refreshed, or a database replaced, while the service runs: the credentials are good for the new one, too."""

from __future__ import annotations

from pathlib import Path

from tests.system.acceptance_lab import MC, Company, Json

OTHER = "00D5g000000000BEAQ"


def failing(report: Json) -> set[str]:
    """The connections that lead elsewhere."""
    return {name.partition(".")[0] for name, error in report["failed"].items() if error["code"] == "another_account"}


def test_a_refreshed_sandbox_is_left_alone_and_opt_outs_travel_between_the_others(tmp_path: Path) -> None:
    with Company(tmp_path, 60) as company:
        company.link()
        company.cycle(good=False)
        accounts = {c["name"]: c["account"] for c in company.ask("accounts")["connections"]}
        assert accounts == {"sf": "org 00D5g000000000AEAQ", "odoo": None, **{
            name: f"enterprise {company.box.marketing_cloud.tenant.eid}, MID {mid}"
            for name, mid in zip(("mc_main", "mc_second"), company.box.marketing_cloud.tenant.units, strict=True)}}
        company.box.salesforce.options.organization = OTHER
        company.box.salesforce.tokens.revoke()
        company.forget_journal()
        gone = str(company.send("offers")["mailed"][0])
        company.recipient("unsubscribe", gone, {"topic": "offers"})
        report = company.cycle(good=False)
        assert failing(report) == {"sf"}
        written, calls = company.written(), company.calls()
        assert written["salesforce"] == 0
        assert written[MC] > 0, "her rows are gone"
        company.cycle(good=False)
        assert company.calls()["salesforce"] == calls["salesforce"], "vendors count logins"


def test_the_uuid_of_a_database_is_told_apart_where_the_user_may_read_it(tmp_path: Path) -> None:
    with Company(tmp_path, 10) as company:
        server = company.box.odoo
        assert server is not None
        for user in server.access.users.values():
            user.groups = user.groups | {"system"}
        company.link()
        server.load({"ir.config_parameter": [{"id": 1, "key": "database.uuid", "value": "another"}]})
        assert failing(company.cli("once", exits=(2,))) == {"odoo"}
        told = company.cli("connections", "accept", "odoo", "--same-people")
        assert told["account"].startswith("database another at ")
        assert company.cli("once", exits=(0, 3))["failed"] == {}

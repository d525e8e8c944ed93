"""syncd connections: which accounts there are, and what is said when one of them is another."""

from __future__ import annotations

from tests.unit.cli_lab import PEOPLE, lab


def test_a_connection_that_leads_elsewhere_is_told_everywhere_until_it_is_accepted() -> None:
    with lab() as made:
        nothing = made.ask("connections", "accept", "sf", "--same-people", exit=2)["error"]
        assert nothing["message"] == "sf leads where it always did: sf at sf."
        made.ask("once", "--approve")
        assert [c["account"] for c in made.ask("connections", "list")["connections"]] == ["mc", "sf"]
        made.world.act("sf", "become", account="other")
        for words in (("plan",), ("check", "--online")):
            error = made.ask(*words, exit=2)["error"]
            assert error["message"].startswith("sf: This is another account: other at sf.")
            assert error["next"].endswith("give it a name of its own.")
        findings = made.ask("doctor", exit=2)["findings"]
        assert any(f["where"] == "sf" and f["message"].startswith("sf: This is another account") for f in findings)
        failed = made.ask("once", exit=2)
        assert "another account" in str(failed)
        assert "sf leads to another account, other at sf, and is not used" in made.run("status").stdout
        assert "other at sf" in made.run("connections", "list").stdout
        assert made.run("connections", "accept", "sf").exit_code == 2
        assert made.ask("connections", "accept", "sg", "--same-people", exit=2)["error"]["next"] == "Known here: mc, sf."
        told = made.run("connections", "accept", "sf", "--same-people")
        assert told.stdout.strip() == "sf is other at sf now; it was sf at sf"
        planned = made.ask("plan")
        assert planned["rows"]["sf.Contact"] == PEOPLE
        assert not planned["plan"]["counts"]
        assert "leads to another account" not in made.run("status").stdout

"""What a restore of the journal alone cannot know, and how it is put right."""

from __future__ import annotations

from pathlib import Path

from tests.unit.cli_lab import MAPPING, Lab, lab

BOTH = "both@example.org\n"


def rules(made: Lab) -> dict[str, str]:
    """Which rule decides about all mail, by record."""
    return {person["records"][0]["id"]: person["all_marketing"]["decision"]["rule"]
            for person in made.ask("explain", "-", input=BOTH)["people"]}


def test_a_block_for_a_neighbours_sake_counts_as_ones_own_until_it_is_retracted() -> None:
    with lab() as made:
        made.write(mapping=MAPPING.replace("same_email: one_person", "same_email: separate"))
        eva, tom = made.ids[1:3]
        for record in (eva, tom):
            made.world.act("sf", "edit", object="Contact", id=record, set={"email": BOTH.strip()})
        made.ask("once", "--approve")
        made.world.send("mc", "de:NEWS", "L2")
        made.world.act("sf", "edit", object="Contact", id=eva, set={"opted_out": 1})
        made.ask("once")
        made.ask("once")
        assert rules(made) == {eva: "R2", tom: "R4"}
        (made.directory / "state" / "syncd.db").unlink()
        made.ask("restore", "--yes")
        made.ask("apply", made.ask("plan", exit=4)["plan"]["id"])
        assert rules(made) == {eva: "R2", tom: "R2"}, "in doubt nobody is mailed"
        said = made.ask("consent", "history", "-", input=BOTH)["statements"]
        [hers] = {s["person"] for s in said if s["state"] == "opt_out" and not s["baseline"]}
        for statement in [s for s in said if s["person"] != hers and s["state"] == "opt_out"]:
            made.ask("consent", "retract", str(statement["position"]), "--evidence", "for Eva's sake", "--by", "Ann")
        made.ask("once")
        assert rules(made) == {eva: "R2", tom: "R4"}


def test_what_is_restored_is_not_tried_out_against_another_account(tmp_path: Path) -> None:
    """The state is lost, or an old copy; the journal knows which account each connection is about."""
    with lab() as made:
        made.ask("once", "--approve")
        copy = tmp_path / "copy.db"
        made.ask("backup", str(copy))
        made.world.act("sf", "become", account="moved")
        made.ask("connections", "accept", "sf", "--same-people")
        made.ask("once")
        for source, account in (([], "sf"), ([str(copy)], "sf"), ([], "moved")):
            (made.directory / "state" / "syncd.db").unlink()
            made.ask("restore", *source, "--yes")
            made.world.act("sf", "become", account=account)
            result = made.run("plan", "--json")
            assert ("another_account" in result.output) is (account == "sf"), result.output

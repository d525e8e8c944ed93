"""Somebody is forgotten against the sandbox, by the commands an operator types: no file of ours and no simulator of a
provider holds the address once the provider's own job is done, and whoever is entered again under it is mailed nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system.acceptance_lab import MC, ROOT, Company

DAY = 86_400


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """After the first plan, and after everybody in the audience of tips was mailed."""
    made = Company(tmp_path_factory.mktemp("forget"), 120)
    try:
        made.link()
        made.control.act(actor="esp_user", do="send", to={"audience": "tips"})
        made.cli("once", exits=(0, 3))
        yield made
    finally:
        made.stop()
        made.box.close()


def forget(made: Company, email: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, the address on its standard input."""
    command = [sys.executable, "-m", "syncd.cli", "--config", str(made.box.config_path), "forget", "--yes", "--json", *words,
               "-"]
    return subprocess.run(command, cwd=ROOT, input=email + "\n", capture_output=True, text=True, timeout=120, check=False,
                          env={"PATH": "/usr/bin:/bin", **environment})


def holders(made: Company, email: str) -> list[str]:
    """Files of the state's and the journal's directories that hold the address, byte for byte, in any case."""
    base = made.box.config_path.parent
    return [str(path) for name in ("state", "journal") for path in (base / name).rglob("*")
            if path.is_file() and email.lower().encode() in path.read_bytes().lower()]


def somebody(made: Company, *objects: str) -> str:
    """The address of somebody who gets tips, and of whom the CRMs hold just these records."""
    held: dict[str, list[str]] = {}
    for side in ("salesforce", "odoo"):
        for p in made.world(side)["people"]:
            held.setdefault((p["email"] or "").strip().lower(), []).append(p["object"])
    rows = made.world(MC)["audiences"]["tips"]["rows"]
    return next(str(r["email"]) for r in rows if held.get(r["email"].lower()) == [*objects] and holders(made, r["email"]))


def at_provider(made: Company, email: str) -> list[str]:
    """Where the provider shows the address: subscribers, and rows of audiences."""
    world = made.world(MC)
    found = ["subscribers" for s in world["subscribers"] if s["email"].lower() == email.lower()]
    return found + [name for name, a in world["audiences"].items() for r in a["rows"]
                    if email.lower() in (r["email"] or "").lower()]


def test_forgotten_here_at_once_and_at_the_provider_when_its_job_is_done(company: Company) -> None:
    email = somebody(company, "Contact", "mailing.contact", "res.partner")
    backup = company.box.config_path.parent / "state" / "before.db"
    company.cli("backup", str(backup))
    assert at_provider(company, email)
    done = forget(company, email)
    receipt: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == 0, receipt
    assert holders(company, email) == []
    assert at_provider(company, email) == []
    assert email.lower() not in (done.stdout + done.stderr).lower()
    assert (receipt["done"], {p["state"] for p in receipt["providers"]}) == (False, {"running"})
    assert receipt["copies_rewritten"] == [str(backup)]
    assert {r["connection"] for r in receipt["left_alone"]} == {"sf", "odoo"}
    assert company.cli("consent", "verify")["intact"]
    waiting = company.cli("status")["erasures"]
    assert [e["erasure"] for e in waiting] == [receipt["erasure"]]

    company.control.good("POST", "clock", {"advance": 3 * DAY})
    company.cli("once", exits=(0, 3))
    assert company.cli("status")["erasures"] == []
    assert holders(company, email) == []
    tenant = company.box.marketing_cloud.tenant
    assert email.lower() not in tenant.by_email
    assert not [s for s in tenant.subscribers.values() if s.email.lower() == email.lower()]

    # The CRMs still have her, and somebody enters her again: nobody is mailed, and nothing of her comes back.
    company.user("salesforce", "create", object="Contact", set={"LastName": "Again", "Email": email.upper()})
    company.cli("resync", "--all", exits=(0, 3, 5))
    company.cli("once", exits=(0, 3, 5))
    company.control.good("DELETE", "journal")
    for audience in company.world(MC)["audiences"]:
        company.control.act(actor="esp_user", do="send", to={"audience": audience})
    mailed = {m["email"].lower() for m in company.world(MC)["mails"] if m["at"] > tenant.now() - DAY}
    assert mailed
    assert email.lower() not in mailed
    assert holders(company, email) == []
    assert at_provider(company, email) == []


@pytest.mark.parametrize("point", ["forget_begun", "forget_erased", "forget_files", "forget_asked"])
def test_killed_anywhere_it_goes_on_with_the_next_run(company: Company, point: str) -> None:
    email = somebody(company, "Contact")
    killed = forget(company, email, SYNCD_FAILPOINT=f"{point}:1")
    assert killed.returncode == -signal.SIGKILL
    shown = company_state(company, email)
    assert shown <= {"unsubscribed"}, "whatever is left to do, nobody is mailed"
    company.cli("once", exits=(0, 3))
    assert holders(company, email) == []
    assert at_provider(company, email) == []
    assert company.cli("consent", "verify")["intact"]


def test_odoo_archives_and_empties_or_deletes_where_that_is_asked_for(company: Company) -> None:
    def partner(id_: str) -> dict[str, Any]:
        return next(p for p in company.world("odoo")["people"] if (p["object"], p["id"]) == ("res.partner", id_))

    for words in ((), ("--delete",)):
        email = somebody(company, "Contact", "mailing.contact", "res.partner")
        record = next(p["id"] for p in company.world("odoo")["people"] if p["object"] == "res.partner"
                      and (p["email"] or "").strip().lower() == email.lower())
        done = forget(company, email, "--also-crm", "odoo", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        receipt = json.loads(done.stdout)
        assert [*receipt["crms"]["odoo"]] == ["delete" if words else "mark"]
        assert {r["connection"] for r in receipt["left_alone"]} == {"sf"}
        if words:
            assert partner(record)["deleted"]
        else:
            assert (partner(record)["email"], partner(record)["fields"]["active"]) == (None, False)
        company.cli("once", exits=(0, 3))
        assert holders(company, email) == []


def company_state(made: Company, email: str) -> set[str]:
    """What may be mailed to the address, by topic."""
    command = [sys.executable, "-m", "syncd.cli", "--config", str(made.box.config_path), "consent", "show", "--json", "-"]
    done = subprocess.run(command, cwd=ROOT, input=email + "\n", capture_output=True, text=True, timeout=120, check=True)
    return {t["state"] for p in json.loads(done.stdout)["people"] for t in p["topics"].values()}



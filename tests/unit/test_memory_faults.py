"""Faults of a world in memory, and what outlives whom."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.errors import CursorLost, Misconfigured, Outage, Reauthenticate, Retry, Throttled
from connectors.memory import BadCall, World
from syncd.model import Outcome, StreamSpec
from tests.unit.memory_lab import CONTACTS, START, crm, esp, everything, states, status, upsert


@pytest.fixture
def world() -> Iterator[World]:
    with World.start(seed=3, start=START) as world:
        yield world


# --------------------------------------------------------------------------- faults

@pytest.mark.parametrize(("fault", "error"), [
    ("outage", Outage), ("unauthorised", Reauthenticate), ("retry", Retry), ("throttle", Throttled),
    ("lose_reply", Retry), ("lose_request", Retry)])
def test_faults_of_reads_raise_what_must_be_done(world: World, fault: str, error: type[Exception]) -> None:
    crm(world)
    sf = world.connector("sf")
    world.fault(fault, connection="sf", skip=1)
    sf.check()
    with pytest.raises(error):
        sf.describe()
    sf.describe()


def test_lost_requests_and_lost_replies_look_alike_but_only_one_was_carried_out(world: World) -> None:
    esp(world)
    mc = world.connector("mc")
    for fault, key in (("lose_request", "a"), ("lose_reply", "b")):
        world.fault(fault, connection="mc", verb="apply")
        assert mc.apply(upsert(key)) == [Outcome("unknown")]
    assert [row["key"] for row in world.truth()["mc"]["audiences"]["de:OFFERS"]["rows"]] == ["b"]


def test_pages_fail_midway_and_the_cursor_of_the_last_good_one_goes_on(world: World) -> None:
    crm(world, page_size=2)
    ids = world.load("sf", "Contact", [{"email": f"{n}@mail.example"} for n in range(5)])
    sf = world.connector("sf")
    world.fault("outage", verb="changes", skip=1)
    reading = sf.changes(CONTACTS, None)
    first = next(reading)
    with pytest.raises(Outage):
        next(reading)
    rest = everything(sf.changes(CONTACTS, first.cursor))
    assert {row[0] for row in [*first.rows, *rest]} == set(ids)
    world.fault("cursor_lost")
    with pytest.raises(CursorLost):
        list(sf.changes(CONTACTS, first.cursor))


@pytest.mark.parametrize("spec", [CONTACTS, StreamSpec("Contact", ids_only=True)])
def test_a_cut_listing_is_not_complete_unless_the_vendor_lies_about_its_count(world: World, spec: StreamSpec) -> None:
    crm(world, page_size=3)
    world.load("sf", "Contact", [{"email": f"{n}@mail.example"} for n in range(8)])
    sf = world.connector("sf")
    world.fault("truncate", verb="changes", rows=5, count=None)
    pages = list(sf.changes(spec, None))
    assert (sum(len(p.rows) for p in pages), pages[-1].complete) == (5, False)
    world.clear_faults("truncate")
    world.fault("truncate", verb="changes", rows=5, count=None, silent=True)
    pages = list(sf.changes(spec, None))
    assert (sum(len(p.rows) for p in pages), pages[-1].complete) == (5, True)


def test_a_change_of_rights_during_or_between_listings_makes_them_incomplete(world: World) -> None:
    crm(world, page_size=3)
    ids = world.load("sf", "Contact", [{"email": f"{n}@mail.example"} for n in range(8)])
    sf = world.connector("sf")
    spec = StreamSpec("Contact", ids_only=True)
    restrict = {"connection": "sf", "do": "restrict", "ids": ids[6:]}
    world.fault("act", verb="changes", skip=1, acts=[restrict])
    during = list(sf.changes(spec, None))
    assert (sum(len(p.rows) for p in during), during[-1].complete) == (6, False)
    [*_, before] = sf.changes(spec, None)
    assert before.complete
    world.act("sf", "restrict", ids=ids[4:])
    *_, after = sf.changes(spec, before.cursor)
    assert not after.complete
    *_, again = sf.changes(spec, after.cursor)
    assert again.complete


def test_named_rows_are_refused_or_put_off(world: World) -> None:
    esp(world)
    mc = world.connector("mc")
    world.fault("reject", keys=["b"], count=None)
    world.fault("retry_rows", keys=["c@mail.example"], seconds=4, max_batch=1)
    outcomes = mc.apply(upsert("a", "b", "c"))
    assert states(outcomes) == ["done", "rejected", "retry"]
    assert (outcomes[2].retry_after, outcomes[2].max_batch) == (4, 1)
    assert states(mc.apply(upsert("b", "c"))) == ["rejected", "done"]


def test_somebody_acts_between_two_calls(world: World) -> None:
    esp(world)
    mc = world.connector("mc")
    world.act("mc", "import", list="4711", members={"k": "k@mail.example"})
    world.fault("act", connection="mc", verb="apply", acts=[
        {"connection": "mc", "do": "unsubscribe", "email": "k@mail.example", "list": "4711"}])
    mc.apply(upsert("k"))
    assert world.send("mc", "de:OFFERS")["skipped"] == {"list_unsubscribed": 1}


def test_a_hidden_field_is_neither_described_nor_read(world: World) -> None:
    crm(world)
    sf = world.connector("sf")
    world.fault("hide_field", object="Contact", field="email")
    assert "email" not in {f.name for f in sf.describe(["Contact"]).objects["Contact"].fields}
    with pytest.raises(Misconfigured, match="email"):
        list(sf.changes(CONTACTS, None))
    world.clear_faults()
    assert len(list(sf.changes(CONTACTS, None))) == 1


def test_what_makes_no_sense_is_refused_by_the_control(world: World) -> None:
    crm(world)
    for call in (lambda: world.act("sf", "dance"), lambda: world.act("nobody", "edit"), lambda: world.fault("oops"),
                 lambda: world.fault("slow", colour=1), lambda: world.create_crm("sf", {}),
                 lambda: world.create_crm("x", {"A": {"feilds": []}}), lambda: world.create_esp("y", pages=3),
                 lambda: world.act("sf", "edit", object="Contact", wrong=1)):
        with pytest.raises(BadCall):
            call()


# --------------------------------------------------------------------------- digest, survival

def test_the_digest_tells_what_is_so_and_not_how_it_came(world: World) -> None:
    for name in ("one", "two"):
        esp(world, name)
    with World.start(seed=9) as other:
        esp(other, "one")
        esp(other, "two")
        for w, keys in ((world, ["a", "b"]), (other, ["b", "a", "b"])):
            one = w.connector("one")
            for key in keys:
                one.apply(upsert(key))
                one.apply(status("unsubscribed", key, create=1))
        assert world.digest() == other.digest()
        other.act("one", "delete_rows", audience="de:OFFERS", keys=["a"])
        assert world.digest() != other.digest()


def test_the_world_survives_the_death_of_its_client(world: World) -> None:
    esp(world)
    client = ("import sys; from connectors.memory import MemoryConnector; from syncd.model import Batch, Op\n"
              "c = MemoryConnector(sys.argv[1], 'mc'); n = 0\n"
              "while True:\n"
              "    n += 1; c.apply(Batch('upsert', 'de:OFFERS', (), [Op(n, f'k{n}', 'x@mail.example', ())]))\n"
              "    print(n, flush=True)\n")
    process = subprocess.Popen([sys.executable, "-c", client, world.address], stdout=subprocess.PIPE,
                               cwd=Path(__file__).resolve().parents[2])
    assert process.stdout is not None
    for _ in range(20):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    told = 20 + len(process.communicate()[0].split())
    rows = world.truth()["mc"]["audiences"]["de:OFFERS"]["rows"]
    assert told <= len(rows) <= told + 1


def test_a_world_ends_with_the_process_that_started_it() -> None:
    starter = ("import os; from connectors.memory import World\n"
               "w = World.start(); print(w._process.pid, w._directory, flush=True); os._exit(1)\n")
    done = subprocess.run([sys.executable, "-c", starter], stdout=subprocess.PIPE, check=False, timeout=30,
                          cwd=Path(__file__).resolve().parents[2])
    pid, directory = done.stdout.split()
    for _ in range(500):
        if not Path(f"/proc/{int(pid)}").exists() or b"\nState:\tZ" in Path(f"/proc/{int(pid)}/status").read_bytes():
            break
        time.sleep(0.01)
    else:
        pytest.fail("the world outlived its starter")
    Path(directory.decode()).rmdir()  # the world took its socket along; the starter had no time to tidy up


def test_without_a_world_there_is_an_outage_and_no_half_made_connector(tmp_path: Path) -> None:
    lost = World(str(tmp_path / "socket")).connector("mc")
    with pytest.raises(Outage):
        lost.check()

"""What a CRM's connector does that erases records, at the simulators of Salesforce and Odoo."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connectors.base import RecordEraser
from connectors.errors import Throttled
from connectors.sim.kernel import Kernel, serve
from connectors.sim.odoo import OdooSim
from connectors.sim.salesforce import SalesforceSim
from syncd.model import Value
from tests.conformance.lab import RecordLab
from tests.conformance.odoo_lab import OdooLab
from tests.conformance.salesforce_lab import SalesforceLab


@pytest.fixture(params=["salesforce", "odoo"])
def lab(request: pytest.FixtureRequest) -> Iterator[RecordLab]:
    kernel = Kernel(seed=14)
    if request.param == "odoo":
        odoo = OdooLab(kernel, OdooSim(kernel, version="18.0", topics={"offers": 1, "news": 2}))
        yield odoo
        odoo.close()
        return
    sim = SalesforceSim(kernel, data_protection=True)
    server = serve(kernel, sim.side, sim.handle)
    salesforce = SalesforceLab(kernel, sim, f"http://127.0.0.1:{server.server_address[1]}", 7)
    yield salesforce
    salesforce.connector.close()
    server.shutdown()
    server.server_close()


def living(lab: RecordLab, *ids: str) -> dict[str, Value]:
    """The addresses of those records that are there, by id."""
    columns = lab.spec.columns
    return {str(row[0]): row[columns.index(lab.email)] for row in lab.connector.fetch(lab.spec, ids).rows
            if not row[columns.index("deleted")]}


@pytest.mark.parametrize("delete", [False, True])
def test_erased_are_those_who_were_named_and_asking_again_does_no_harm(lab: RecordLab, delete: bool) -> None:
    assert lab.connector.capabilities.erases_records
    assert isinstance(lab.connector, RecordEraser)
    assert lab.connector.erasing(delete=delete) != lab.connector.erasing(delete=not delete)
    gone, *left = (lab.create(f"{name}@mail.example", name) for name in ("Ann", "Bob", "Cleo"))
    lab.settle()
    for _ in range(2):
        outcomes = lab.connector.erase_records(lab.spec.object, [gone, lab.unknown_id], delete=delete)
        assert [(o.state, o.reason) for o in outcomes] == [("done", None)] * 2
        lab.settle()
    assert living(lab, *left) == {left[0]: "Bob@mail.example", left[1]: "Cleo@mail.example"}
    # Salesforce's mark is at the Individual, and whatever follows from it is Salesforce's.
    kept = {gone: None if isinstance(lab, OdooLab) else "Ann@mail.example"}
    assert living(lab, gone) == ({} if delete else kept)


def test_a_call_that_breaks_tells_nothing_as_done(lab: RecordLab) -> None:
    gone = lab.create("ann@mail.example", "Ann")
    lab.settle()
    assert isinstance(lab.connector, RecordEraser)
    living(lab, gone)
    lab.throttle(5)
    with pytest.raises(Throttled):
        lab.connector.erase_records(lab.spec.object, [gone], delete=True)
    assert gone in living(lab, gone)

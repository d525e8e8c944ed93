"""What the request handlers share: the request's context and the table of routes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from connectors.sim.kernel import Call, Fault, Request, Response

from .errors import Refused
from .save import Actor

if TYPE_CHECKING:
    from .sim import SalesforceSim


@dataclass(slots=True)
class Context:
    """One authorised request to ``/services/data/<version>``; ``args`` are the parts of its path."""

    sim: SalesforceSim
    request: Request
    call: Call
    version: str
    actor: Actor
    args: dict[str, str]

    @property
    def route(self) -> str:
        return f"{self.request.method} {self.request.path}"

    def fault(self, name: str, object: str | None = None) -> Fault | None:
        """The fault of that name if it strikes this request."""
        return self.sim.kernel.faults.active(self.sim.side, name, self.route, object)

    def json(self) -> Any:
        """The body.

        :raises Refused: JSON_PARSER_ERROR
        """
        try:
            return self.request.json()
        except orjson.JSONDecodeError:
            raise Refused("JSON_PARSER_ERROR", "Unexpected character in the request body") from None

    def object(self, name: str | None = None) -> str:
        """The canonical name of the path's object.

        :raises Refused: 404
        """
        known = self.sim.db.objects.get((name or self.args["object"]).lower())
        if known is None:
            raise Refused("NOT_FOUND", "The requested resource does not exist", status=404)
        return known


Handler = Callable[[Context], Response]


class Route(NamedTuple):
    """``name`` is what the journal calls it; ``write`` says whether it changes rows."""

    method: str
    pattern: re.Pattern[str]
    name: str
    write: bool
    handler: Handler


def route(method: str, path: str, name: str, handler: Handler, *, write: bool = False) -> Route:
    """A route of a path below the version, with ``{name}`` for one segment; letter case does not matter."""
    pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)
    return Route(method, re.compile(pattern + "/?", re.IGNORECASE), name, write, handler)

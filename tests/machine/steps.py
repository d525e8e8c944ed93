"""The steps a play is made of: plain data, so that a counterexample can be kept, shortened and read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from tests.machine.scenes import SCENES

Step = tuple[Any, ...]
"""The name of an act (``Play.do_NAME``) and its arguments: small numbers that count people, and plain words."""


class Pick(Protocol):
    """``random.Random.choice``, or the same drawn by Hypothesis."""

    def __call__(self, options: Sequence[Any], /) -> Any: ...


WHO = tuple(range(12))
ESPS, CRMS = ("mc", "late"), ("sf", "odoo")
EVERYWHERE = (*CRMS, *ESPS)
SCOPES = ("offers", "news", "all")
FLAGS = ("opted_out", "no_news")
POINTS = ("page_stored", "pulled", "identified", "planned", "guarded", "sealed", "sent", "recorded", "settled")
MOMENTS = ("page_stored", "pulled", "identified", "planned", "guarded")
"""Points of a cycle at which the express way may take its turn."""
MINUTES = (2, 11, 31, 61, 60 * 25)
BREAKDOWNS = ("lose_reply", "lose_request", "outage", "throttle", "retry", "cursor_lost", "truncate", "unauthorised")
SKEWS = ((0, 0), (10, 0), (-10, 0), (0, -10), (0, 10), (5, -5), (-5, 5))
"""Minutes that syncd's host and the web site are ahead of the vendors; never more than the tolerance between any two."""

KINDS: dict[str, Callable[[Pick], Step]] = {
    # recipients
    "unsubscribe": lambda p: (p(WHO), p(ESPS), p(SCOPES)),
    "click": lambda p: (p(WHO), p(ESPS), p(SCOPES), p((None, None, *MOMENTS))),
    "complain": lambda p: (p(WHO), p(ESPS)),
    "block": lambda p: (p(WHO), p(ESPS)),
    "resubscribe": lambda p: (p(WHO), p(ESPS), p(SCOPES)),
    "web": lambda p: (p(WHO), p((0, 0, 3, 12))),
    "blacklist": lambda p: (p(WHO), p((0, 1))),
    "bounce": lambda p: (p(WHO), p(ESPS)),
    # the CRMs' users
    "tick": lambda p: (p(WHO), p(FLAGS)),
    "untick": lambda p: (p(WHO), p(FLAGS)),
    "connect": lambda p: (p(WHO),),
    "unblacklist": lambda p: (p(WHO),),
    "untick_offers": lambda p: (p(WHO),),
    "tick_offers": lambda p: (p(WHO),),
    "rename": lambda p: (p(WHO), p((0, 1))),
    "move": lambda p: (p(WHO), p((*range(6), None, None, None))),
    "create": lambda p: (p(CRMS), p((*WHO, None, None)), p((0, 0, 0, 1))),
    "delete": lambda p: (p(WHO),),
    "undelete": lambda p: (p(WHO),),
    "merge": lambda p: (p(WHO), p(WHO)),
    "import_flags": lambda p: (p(CRMS), p(FLAGS), p((0, 1))),
    "spend": lambda p: (p(WHO), p((10, 50, 200, 900))),
    # the ESPs' users
    "suppress": lambda p: (p(WHO), p(ESPS)),
    "import_members": lambda p: (p(WHO), p(ESPS), p(SCOPES)),
    "remove_member": lambda p: (p(WHO), p(ESPS), p(SCOPES)),
    "delete_subscriber": lambda p: (p(WHO), p(ESPS)),
    "add_row": lambda p: (p(WHO), p(ESPS), p(SCOPES[:2]), p((0, 1))),
    "delete_row": lambda p: (p(WHO), p(ESPS), p(SCOPES[:2])),
    "send": lambda p: (p(ESPS), p(SCOPES[:2])),
    # admins
    "grant": lambda p: (p(WHO), p(SCOPES)),
    "retract": lambda p: (p(WHO),),
    "retract_burst": lambda p: (),
    "approve": lambda p: (),
    "remap": lambda p: (p((0, 1, 2, 3, 4, 5, 6)),),
    "migrate": lambda p: (),
    "forget": lambda p: (p(WHO),),
    "backup": lambda p: (),
    "restore": lambda p: (p((0, 1, None)),),
    # faults, and time
    "fault": lambda p: (p(EVERYWHERE), p(BREAKDOWNS), p((1, 1, 2, 5)), p((0, 0, 1, 2))),
    "down": lambda p: (p(EVERYWHERE),),
    "forget_requests": lambda p: (),
    "heal": lambda p: (),
    "wait": lambda p: (p(MINUTES),),
    # syncd
    "cycle": lambda p: (),
    "full": lambda p: (),
    "hasty": lambda p: (),
    "midway": lambda p: (),
    "crash": lambda p: (p(POINTS), p((1, 1, 1, 2, 3, 5, 8))),
    "calm": lambda p: (),
}
"""What can happen, and how its arguments are drawn."""

WEIGHTS = {"cycle": 10, "unsubscribe": 3, "tick": 2, "web": 3, "send": 4, "crash": 2, "fault": 2, "wait": 2, "calm": 3,
           "hasty": 2, "resubscribe": 2, "grant": 2, "approve": 5, "click": 2,
           "import_flags": 2, "retract": 3, "undelete": 3, "heal": 4, "midway": 3,
           "blacklist": 4, "unblacklist": 12, "connect": 4, "retract_burst": 20}
"""How many times as often as the others."""

SCENE_OF = {"blacklist": 1, "unblacklist": 1, "connect": 1, "retract_burst": 3}
"""Kinds that can happen in one scene alone. The machine does not try them in the others, and so can try them often there."""

MORE_IN = {
    3: {"import_flags": 10}, 4: {"crash": 12, "fault": 8}, 5: {"move": 6, "block": 3, "web": 3, "grant": 3},
    6: {"remap": 6, "tick": 4, "untick": 3, "crash": 4, "fault": 4}}
"""How many times more often than elsewhere a scene has what makes it: only a file makes a burst; between two pages there is
more to break off; who shares an address can come back alone; another mapping has everything read again."""

_BAG = tuple(kind for kind in KINDS for _ in range(WEIGHTS.get(kind, 1)))


def any_step(pick: Pick, only: Sequence[str] = _BAG) -> Step:
    """One more step."""
    kind = pick(only)
    return (kind, *KINDS[kind](pick))


def opening(pick: Pick) -> Step:
    """The first step: how the clocks go, whether syncd is installed yet, and in which scene."""
    return ("begin", *pick(SKEWS), pick((1, 1, 1, 0)), pick(range(len(SCENES))))

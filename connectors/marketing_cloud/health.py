"""What ``check`` looks at: the package's scopes, how the business unit unsubscribes, the pace of calls."""

from __future__ import annotations

from collections.abc import Iterator

from connectors.base import CallCounter
from connectors.marketing_cloud.consent.sends import SCOPE as SENDS
from connectors.marketing_cloud.settings import MarketingCloudSettings
from connectors.marketing_cloud.wire import soap
from connectors.marketing_cloud.wire.calls import Wire
from connectors.marketing_cloud.wire.describe import Describer
from syncd.model import Finding, Health

SCOPES = ("data_extensions_read", "data_extensions_write", "list_and_subscribers_read", "list_and_subscribers_write",
          "tracking_events_read")
"""What the installed package must be allowed to do."""

YEAR = 365 * 86_400


def examine(settings: MarketingCloudSettings, wire: Wire, describer: Describer, counter: CallCounter,
            elapsed: float) -> Health:
    """The findings of one look at a business unit, after a login; ``counter`` has counted for ``elapsed`` seconds."""
    findings = [*_scopes(wire.token().scope)]
    unit = None
    if not any(finding.level == "error" for finding in findings):
        unit = describer.unit()
        findings.append(_unsubscribing(unit))
    if elapsed > 3_600 and counter.calls / elapsed * YEAR > settings.yearly_calls:
        findings.append(Finding("warning", "At this pace the yearly call volume will not last.",
                                "Poll less often, or map fewer lists."))
    account = (unit or {}).get("Name") or "business unit"
    mid = settings.mid if settings.mid is not None else (unit or {}).get("ID")
    return Health(f"{account} (MID {mid or 'unknown'})", tuple(findings),
                  {"calls_since_start": (counter.calls, settings.yearly_calls)})


def _scopes(held: frozenset[str]) -> Iterator[Finding]:
    """What a token's scopes lack; where it names none, nothing is known."""
    if not held:
        return
    for scope in SCOPES:
        if scope not in held:
            yield Finding("error", f"The installed package lacks the scope {scope}.", "Add it in Setup.")
    if SENDS not in held:
        yield Finding("warning", f"The installed package lacks the scope {SENDS}, so that syncd cannot see what was sent: "
                      "who unsubscribes through a list outside the mapping leaves all mail.", "Add it in Setup.")


def _unsubscribing(unit: soap.Row | None) -> Finding:
    behaviour = (unit or {}).get("MasterUnsubscribeBehavior")
    if behaviour == "ENTIRE_ENTERPRISE":
        return Finding("info", "An unsubscribe from everything holds for the whole enterprise.")
    if behaviour == "BUSINESS_UNIT_ONLY":
        return Finding("info", "An unsubscribe from everything holds for this business unit only.")
    return Finding("warning", "The business unit's unsubscribe setting cannot be read.",
                   "Give the package the right to read the account, and check mid. Until then an unsubscribe "
                   "may reach further than syncd sees.")

"""What one connection to Marketing Cloud needs to know: one business unit, one installed package."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta, timezone

from connectors.errors import Misconfigured


@dataclass(frozen=True, slots=True)
class MarketingCloudSettings:
    """Settings of one business unit.

    subdomain          the tenant's 28 characters ("mc…"); or ``endpoint``, one base URL for everything (a sandbox);
                       ``auth_url``, ``rest_url`` and ``soap_url`` replace single ones
    mid                the business unit; None = the one that owns the package
    server_utc_offset  hours; Marketing Cloud's clock has no daylight saving (stack 4: -7)
    yearly_calls       the edition's call volume; the vendor does not tell what is left of it
    max_async_rows     rows of one asynchronous request, and ``max_async_bytes`` its JSON
    page_size          rows of one page read; the vendor allows 2,500
    objects_per_call   objects in one SOAP write, and keys in one IN filter
    overlap_seconds    how far each window of changes reaches back into the previous one: events arrive late
    late_seconds       how long a queued write whose reply was lost may still take effect; until then it is not sent again
    event_days         how far back the first reading of events goes; the vendor keeps 730 days
    """

    client_id: str
    client_secret: str = field(repr=False)
    mid: int | None = None
    subdomain: str = ""
    endpoint: str = ""
    auth_url: str = ""
    rest_url: str = ""
    soap_url: str = ""
    server_utc_offset: float = -6.0
    yearly_calls: int = 2_000_000
    max_async_rows: int = 2_500
    max_async_bytes: int = 5_500_000
    page_size: int = 2_500
    objects_per_call: int = 50
    overlap_seconds: int = 7_200
    late_seconds: int = 600
    event_days: int = 730
    ca_file: str | None = None

    @property
    def zone(self) -> timezone:
        """The fixed zone in which the vendor writes dates."""
        return timezone(timedelta(hours=float(self.server_utc_offset)))

    def url(self, service: str) -> str:
        """Base URL of ``auth``, ``rest`` or ``soap``: the tenant's own hosts, whatever a login answer says.

        :raises Misconfigured: neither a subdomain nor an endpoint is given
        """
        own = {"auth": self.auth_url, "rest": self.rest_url, "soap": self.soap_url}[service] or self.endpoint
        if not own and not self.subdomain:
            raise Misconfigured("Marketing Cloud has no endpoint.", remedy="Set subdomain in syncd.yaml.")
        return (own or f"https://{self.subdomain}.{service}.marketingcloudapis.com").rstrip("/")

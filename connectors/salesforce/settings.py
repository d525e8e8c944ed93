"""What one connection to Salesforce needs to know: one org, one integration user."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from connectors.errors import Misconfigured


@dataclass(frozen=True, slots=True)
class SalesforceSettings:
    """Settings of one org. The integration user must be ours alone, or our echoes look like an employee's work.

    domain            the host before ``.salesforce.com`` ("acme.my", "acme--uat.sandbox.my"; with jwt_bearer also
                      "login" and "test"); or ``endpoint``, a base URL that replaces it (a sandbox)
    flow              how to log in: ``client_credentials`` (client_id, client_secret) or ``jwt_bearer`` (client_id,
                      username, private_key as PEM text)
    page_size         rows of one REST page; the vendor allows 2,000
    bulk_threshold    first readings of more rows than this go through Bulk API 2.0
    bulk_page         rows of one page of a Bulk result
    bulk_poll         longest pause, in seconds, between two looks at a running Bulk job
    bulk_timeout      seconds after which a Bulk job is given up for this time (it is found again by its cursor)
    lag_seconds       how far behind the server's clock a reading ends: younger rows may not be committed yet
    overlap_seconds   how far each reading reaches back into the previous one, for transactions that took longer
    api_share         ordinary calls stop when the org has used this fraction of its daily quota (all programs count)
    opt_out_reserve   the further fraction that writes of opt-outs may use
    opt_out_fields    fields beyond the master flags whose writes count as opt-outs
    create_individuals  make an Individual for a contact or lead without one that refuses where consent lies at Individuals
    connect_user      user id of Marketing Cloud Connect, "" = not known
    """

    client_id: str
    domain: str = ""
    endpoint: str = ""
    flow: Literal["client_credentials", "jwt_bearer"] = "client_credentials"
    client_secret: str = field(default="", repr=False)
    username: str = field(default="", repr=False)
    private_key: str = field(default="", repr=False)
    api_version: str = "67.0"
    page_size: int = 2_000
    bulk_threshold: int = 20_000
    bulk_page: int = 20_000
    bulk_poll: float = 10.0
    bulk_timeout: float = 7_200.0
    lag_seconds: int = 10
    overlap_seconds: int = 300
    api_share: float = 0.8
    opt_out_reserve: float = 0.2
    opt_out_fields: tuple[str, ...] = ()
    create_individuals: bool = False
    connect_user: str = ""
    ca_file: str | None = None

    @property
    def base(self) -> str:
        """The URL that the token is asked of, without a trailing slash.

        :raises Misconfigured: neither a domain nor an endpoint is given
        """
        if self.endpoint:
            return self.endpoint.rstrip("/")
        if not self.domain:
            raise Misconfigured("Salesforce has no endpoint.", remedy="Set domain in syncd.yaml.")
        return f"https://{self.domain}.salesforce.com"

    @property
    def audience(self) -> Literal["login", "test"]:
        """Whom a JWT is made out to: production or sandboxes."""
        return "test" if self.domain == "test" or ".sandbox." in f".{self.domain}." else "login"

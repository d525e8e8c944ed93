"""What one connection to Odoo needs to know: one database on one server, one internal user."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class OdooSettings:
    """One database on one server.

    url              "https://odoo.example"; http:// on loopback only
    user             login of a dedicated internal user; api_key: its key, sent with every call
    api              "auto" takes JSON-2 from 19.0 on, where JSON-RPC is deprecated
    lang             language of names read (tags, stages); fixed, so that they do not follow the user's preference
    overlap_seconds  longer than the longest transaction of the server: a row bears the beginning of its transaction
                     and is seen at its end
    page_size        records per call
    opt_out_reason   id of the reason that our own opt-outs are noted with, where the server keeps reasons (17 and later)
    """

    url: str
    database: str
    user: str
    api_key: str = field(repr=False)
    api: Literal["auto", "jsonrpc", "json2"] = "auto"
    lang: str = "en_US"
    overlap_seconds: float = 300.0
    page_size: int = 2000
    opt_out_reason: int | None = None
    ca_file: str | None = None

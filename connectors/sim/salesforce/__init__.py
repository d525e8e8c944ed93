"""A simulated Salesforce organisation on 127.0.0.1: REST, Collections, Composite, Bulk 2.0, and people who use it."""

from __future__ import annotations

from .options import CONNECT_USER, CRM_USER, GUEST_USER, INTEGRATION_USER, Options
from .sim import SalesforceSim

__all__ = ["CONNECT_USER", "CRM_USER", "GUEST_USER", "INTEGRATION_USER", "Options", "SalesforceSim"]

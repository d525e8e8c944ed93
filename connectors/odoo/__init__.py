"""Odoo 15 to 19: contacts, leads, mailing contacts, and consent by blacklist and mailing list."""

from connectors.odoo.connector import OdooConnector
from connectors.odoo.settings import OdooSettings

__all__ = ["OdooConnector", "OdooSettings"]

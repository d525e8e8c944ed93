"""Salesforce (Sales and Service Cloud) as a CRM.

Read ``connector`` first (the verbs), then ``records.reading`` (how no row is lost), ``records.source`` (what is asked, and
how it becomes rows), ``wire.calls`` (HTTP) and ``wire.errors`` (what each of Salesforce's codes means).
"""

from connectors.salesforce.connector import SalesforceConnector
from connectors.salesforce.settings import SalesforceSettings

__all__ = ["SalesforceConnector", "SalesforceSettings"]

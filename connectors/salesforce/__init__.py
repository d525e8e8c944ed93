"""Salesforce (Sales and Service Cloud) as a CRM.

Read ``connector`` first (the verbs), then ``reading`` (how no row is lost), ``source`` (what is asked, and how it
becomes rows), ``wire`` (HTTP) and ``errors`` (what each of Salesforce's codes means).
"""

from connectors.salesforce.connector import SalesforceConnector
from connectors.salesforce.settings import SalesforceSettings

__all__ = ["SalesforceConnector", "SalesforceSettings"]

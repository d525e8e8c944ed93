"""Salesforce Marketing Cloud Engagement, one business unit per connector."""

from connectors.marketing_cloud.connector import MarketingCloudConnector
from connectors.marketing_cloud.settings import MarketingCloudSettings

__all__ = ["MarketingCloudConnector", "MarketingCloudSettings"]

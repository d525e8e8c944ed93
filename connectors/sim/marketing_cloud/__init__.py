"""A simulated tenant of Marketing Cloud Engagement: REST, SOAP, event notifications, sends.

It keeps the platform's habits that lose data or mail people who left: asynchronous rows that apply late and out of
order, HTTP 200 with errors inside, dates without a zone, statuses at several levels, list members that sending itself
adds as Active.
"""

from connectors.sim.marketing_cloud.sim import DEFAULT_MID, MarketingCloudSim

__all__ = ["DEFAULT_MID", "MarketingCloudSim"]

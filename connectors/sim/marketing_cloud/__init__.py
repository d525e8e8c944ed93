"""A simulated tenant of Marketing Cloud Engagement: REST, SOAP, event notifications, sends.

It keeps the platform's habits that lose data or mail people who left: asynchronous rows that apply late and out of
order, HTTP 200 with errors inside, dates without a zone, statuses at several levels, list members that sending itself
adds as Active.

Faults it asks for beside the general ones: ``partial``, ``token_expired``, ``truncated_page``, ``empty_list``,
``drop_field``, ``slow_queue``, ``blocked`` (HTTP 429 without a time) and ``soap_throttle`` (HTTP 500). Their ``object``
is a data extension's key or a SOAP object type.

Where the vendor says nothing, the simulator takes the choice that is harder for a client:

- a refused row of the queue names no key, except for a violated primary key; the others of its request are stored
- a failed synchronous call keeps its good rows or drops them, by a draw
- keys of rows and subscribers compare without regard to case
- a column without a value is left out of a REST row and empty in a SOAP row
- list action ``update`` or ``delete`` needs the member to be there, ``create`` needs it not to be; ``upsert`` always
  works
- an API or user master opt-out leaves the list rows as they are; "unsubscribe from all" by the person flips them
- only people who are mailed are added to the publication list; a transactional mail adds nobody
- a mail to a data-extension row goes to the row's address, which then becomes the subscriber's
- Connect mirrors every unsubscribe by link, centre, complaint or LogUnsubEvent, also from a single list
"""

from connectors.sim.marketing_cloud.sim import DEFAULT_MID, MarketingCloudSim

__all__ = ["DEFAULT_MID", "MarketingCloudSim"]

"""CRMs and ESPs in memory: the connector that tests, properties and demonstrations use.

``World`` starts and steers a world of any number of named connections in a process of its own; ``MemoryConnector`` is
what the daemon sees of one of them. Read ``connector`` first, then ``client``; the world itself is ``world``, and ``sides``
has what a CRM and an ESP hold.
"""

from connectors.memory.client import World, fields
from connectors.memory.connector import MemoryConnector, MemorySettings
from connectors.memory.sides.table import BadCall

__all__ = ["BadCall", "MemoryConnector", "MemorySettings", "World", "fields"]

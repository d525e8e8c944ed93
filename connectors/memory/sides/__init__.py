"""What a CRM and an ESP of a world hold, and what people do there. Nothing here knows of connections or faults."""

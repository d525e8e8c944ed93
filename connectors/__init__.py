"""Connectors translate between a vendor's words and syncd's. They never decide."""

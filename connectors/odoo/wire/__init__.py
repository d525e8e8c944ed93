"""Calls to one database, and what the answers mean: exceptions as errors, values and field descriptions in our words."""

"""Rows of Salesforce's objects, read so that none is lost, and written."""

"""Consent that Salesforce keeps in objects of its own, read and written as fields of contacts and leads."""

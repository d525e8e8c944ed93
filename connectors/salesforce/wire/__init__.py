"""Calls to one org, and what the answers mean: Salesforce's codes as errors, values and descriptions in our words."""

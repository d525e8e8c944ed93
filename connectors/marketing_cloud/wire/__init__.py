"""Calls to one business unit by REST and SOAP, and what the answers mean: errors, values, descriptions, cursors."""

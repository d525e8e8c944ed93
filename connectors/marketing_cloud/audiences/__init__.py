"""Rows of data extensions, written and read back."""

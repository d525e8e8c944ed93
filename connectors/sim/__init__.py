"""Loopback simulators of the vendors, shipped so that tests, the demo and an admin's rehearsal use the same thing.

They are written from the vendors' documented and recorded behaviour and import no connector: one misreading must not
hide another.
"""

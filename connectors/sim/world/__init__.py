"""The seeded, messy world of the sandbox: one population, and the rows each vendor holds of it."""

from __future__ import annotations

from connectors.sim.world.people import Company, Dice, Human, Population, Wish

__all__ = ["Company", "Dice", "Human", "Population", "Wish"]

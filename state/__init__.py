"""The store: one SQLite file that is both memory and engine. SQLite is imported in ``state.db`` only."""

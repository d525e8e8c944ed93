"""Speed, memory and calls against budgets: ``python -m tests.bench``. No test imports this package."""

"""The daemon's listener: webhooks, health and metrics. Knows no vendor; plain HTTP, to stand behind a reverse proxy."""

"""What people told Marketing Cloud: statuses, events, sends and webhooks read, statuses written."""

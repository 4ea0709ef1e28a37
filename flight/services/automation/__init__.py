"""Commands kept for later: schedule, sequences, event-action."""

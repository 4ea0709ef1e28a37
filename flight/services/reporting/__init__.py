"""What the node reports: telemetry, events, housekeeping and its structures."""

"""What the node tells: telemetry, events, housekeeping and its structures."""

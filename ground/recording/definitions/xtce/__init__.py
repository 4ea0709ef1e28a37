"""Reads XTCE 1.2 (OMG), as far as it says what telemetry packets hold: from a file to containers and parameters."""

"""The executive: scheduler, futures, bus, journal, errors, log."""

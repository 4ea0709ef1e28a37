"""What all of flight stands on: scheduler, futures, Platform, configuration, errors, log."""

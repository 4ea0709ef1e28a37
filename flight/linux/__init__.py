"""Edge code of the flight computer: platform, storage, timers, signals, the `orbitnode flight` command."""

"""What the node says about its own state: boot, tasks, storage, log, watchdog."""

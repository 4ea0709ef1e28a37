"""On-board services, one file a PUS service or duty."""

"""On-board services, a room per concern, a file per PUS service or duty."""

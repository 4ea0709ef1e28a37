"""What a command of the ground asks of the ground process: a connection to its API, and what goes over it."""

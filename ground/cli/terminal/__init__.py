"""How the commands of the ground show things on a terminal."""

"""Files on a disk that are there whole or not at all, also after a loss of power."""

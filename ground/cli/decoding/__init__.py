"""Parts of `orbitnode decode`: what it is told of a recording, and how it shows its account."""

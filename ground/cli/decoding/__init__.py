"""Parts of `orbitnode decode`: the options that describe a recording, and the printed account."""

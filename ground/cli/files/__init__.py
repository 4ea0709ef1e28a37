"""`orbitnode files`: its actions, and how transfers are shown."""

"""The configuration of a Yamcs instance that is the ground of a mission."""

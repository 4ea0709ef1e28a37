"""Time codes of CCSDS 301.0-B-4: the node's own, and every other one that data of others may bear."""

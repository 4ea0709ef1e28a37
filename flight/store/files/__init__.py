"""The on-board file store: whole files in four directories, on one user of the node's storage."""

"""Up: TC frames and COP-1 (CLCW, FARM-1, FOP-1)."""

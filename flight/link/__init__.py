"""The space link, sans-IO: packets, frames, COP-1, CFDP."""

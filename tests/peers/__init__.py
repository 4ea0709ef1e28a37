"""Other people's CFDP entities as the other end of a transfer, and the line between."""

"""What came down: decoder, limits, archive, columns; and the dictionary as XTCE."""

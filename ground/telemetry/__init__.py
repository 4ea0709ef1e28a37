"""What came down: decoder, limits, archive, products, recordings as columns, XTCE."""

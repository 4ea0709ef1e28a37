"""Space data link security (CCSDS 355.0-B-2, 355.1-B-1): keys, associations, numbers, for both ends."""

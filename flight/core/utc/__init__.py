"""UTC beside TAI: instants of UTC, the table of leap seconds between the two, and that table as IERS publishes it."""

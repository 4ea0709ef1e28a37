"""Power, heat, devices."""

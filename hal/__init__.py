"""Drivers: small Protocols, one lazy registry, one file a driver."""

"""Drivers: a small Protocol per kind of device, one lazy registry, one file per driver."""

"""Synchronization and channel coding: what lies between frames and the radio."""

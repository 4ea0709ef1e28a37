"""Packet stores and their retrieval."""

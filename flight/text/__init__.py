"""Texts for people, and what keeps them harmless."""

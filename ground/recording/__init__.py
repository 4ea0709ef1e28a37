"""Recorded data of any mission: what a file holds, its packets, their fields as tables, and files of those tables."""

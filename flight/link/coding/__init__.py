"""Synchronization and channel coding (CCSDS 131.0-B, 231.0-B), sans-IO."""

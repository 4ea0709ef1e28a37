"""CFDP class 1: PDUs, transfers, numbers."""

"""Writes tables of any length to files, .npz, .csv, Parquet or Arrow, in memory that does not grow."""

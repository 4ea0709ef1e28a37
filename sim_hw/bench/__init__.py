"""Emulators and benchmarks."""

"""Payload apps: what a worker process runs."""

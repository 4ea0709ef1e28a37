"""Finds out what a recording is from its octets alone: collects the evidence for every form and weighs it."""

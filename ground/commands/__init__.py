"""Commanding: names, encoding, the verification of what is sent, and times of release."""

"""Commanding: names, what is sent, its verification, when it is released."""

"""Soaks in virtual time: both ends of a link over a bad channel for hours, with an account of every frame."""

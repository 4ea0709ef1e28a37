"""The ground in real time: its ports, its clock, and the API for cmd, tm, events and procedures. Edge code."""

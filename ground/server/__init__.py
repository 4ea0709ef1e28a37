"""The ground in real time: its ports, its clock, and the API that cmd, tm, events and procedures ask. Edge code."""

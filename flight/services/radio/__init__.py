"""The radio links: contact, transmitter, counters."""

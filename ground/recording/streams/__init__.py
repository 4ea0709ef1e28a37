"""From the octets of a file to whole packets: which form it has, units, frames and packets, and what was lost."""

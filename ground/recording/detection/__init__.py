"""What a recording is, found from its octets: the evidence for every form, weighed."""

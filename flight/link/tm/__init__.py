"""Down: TM and AOS frames, their channels, packets taken out of them."""

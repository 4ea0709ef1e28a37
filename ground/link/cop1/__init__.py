"""What the AD service of a TM and TC link is made of: its commands, its proof, its CLTUs, and what is seen of it."""

"""What lasts: journal, vault, records of two generations, quotas."""

"""The dictionary as an XTCE 1.2 document (OMG), for other ground systems."""

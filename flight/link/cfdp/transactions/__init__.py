"""CFDP transactions: one entity, the two machines under it, and the ports that it reaches file content through."""

"""Work sharing between nodes: the Protocol and its local default."""

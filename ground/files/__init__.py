"""Files between node and ground: one CFDP entity over a folder, resumable after a restart at any instant."""

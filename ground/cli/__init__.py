"""The operator's commands, one file per command, and the client they share."""

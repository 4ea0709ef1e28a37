"""Files down and up: outbox, uploads."""

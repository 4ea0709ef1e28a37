"""Operator scripts: coroutines over the Operator Protocol, the same in virtual time, on the bench and in flight."""

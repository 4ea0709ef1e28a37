"""The machines of CFDP: one sender or receiver per transaction, and what they are made of."""

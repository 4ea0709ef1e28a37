"""The on-board clock and its reports."""

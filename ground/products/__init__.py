"""Products that come down: received, named, written, and shown in a form that everybody reads."""

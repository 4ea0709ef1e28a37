"""Model and scene: which they are, where they lie, and the tool that fetches them."""

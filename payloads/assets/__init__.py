"""Model and scene: which ones they are, where they are kept, and the tool that fetches them."""

"""Parameters and tables of them."""

"""What a worker app answers, and the files in which answers go down."""

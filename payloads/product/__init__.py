"""What a worker app answers, and the files in which answers are sent down."""

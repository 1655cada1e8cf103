"""What models learn by, besides their own: labels, doubts, and opponents."""

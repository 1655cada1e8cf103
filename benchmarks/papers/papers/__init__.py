"""Tables of papers: what is printed, and ours beside it."""

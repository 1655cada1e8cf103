"""Encoders trained by others: where their files are, how they are read, and what is frozen."""

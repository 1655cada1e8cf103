"""Layers around the selective scan."""

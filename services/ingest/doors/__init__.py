"""Doors: one folder a protocol, from path and body to columns and the answer."""

"""Doors: a folder a protocol, with its path, credentials, body to columns, answer and refusals, and nothing else."""

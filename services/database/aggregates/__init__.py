"""Continuous aggregates: refreshing them where their rows are, and how they fare."""

"""Readings of the cold tier beside those of the table: which files a question needs, and how it gets them."""

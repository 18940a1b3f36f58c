"""Readings of the cold tier beside those of the table: which files a question needs, and how its statement gets them."""

"""The cold tier: chunks that are old enough go to files, exactly once, and what is left of them is kept in order."""

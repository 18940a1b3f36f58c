"""The administrative port: dead letters, seen, mended, replayed and deleted; and deletions of readings."""

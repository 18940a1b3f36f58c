"""Repair: what late readings, SQL, retention and deletions leave to be done, round after round."""

"""`POST /ingest`: a batch of readings, in any of the formats."""

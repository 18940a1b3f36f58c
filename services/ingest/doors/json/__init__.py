"""`POST /ingest`: a JSON array of readings."""

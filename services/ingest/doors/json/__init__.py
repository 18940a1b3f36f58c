"""`POST /ingest`: JSON."""

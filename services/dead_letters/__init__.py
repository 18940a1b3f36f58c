"""Dead letters over HTTP: seen, replayed and deleted, by one code for the ports of ingest and of query."""

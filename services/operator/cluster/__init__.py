"""The operator's hands on the API server: resources, conditions, events, its lease and the scale of workers."""

"""The operator's hands on the API server: the custom resources, the default ones among them, and its Lease."""

"""What is done to the database without Kubernetes: its schema, the repair of late ranges, its aggregates."""

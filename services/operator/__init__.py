"""The operator: schema, hypertables, aggregates, late ranges and the number of workers, kept as described."""

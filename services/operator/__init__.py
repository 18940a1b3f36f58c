"""The operator: schema, hypertables, continuous aggregates, late ranges and the number of workers, kept as described."""

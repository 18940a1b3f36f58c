"""The cold tier's files: where they lie and what is in them. Who moves readings and who reads them stand on it."""

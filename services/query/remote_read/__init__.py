"""`POST /api/v1/read`: Prometheus' remote read, by which PromQL runs over what is stored here."""

__all__: list[str] = []

"""InfluxDB's line protocol, versions 1, 2 and 3, as their clients write it."""

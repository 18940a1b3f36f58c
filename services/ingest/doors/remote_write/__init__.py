"""Prometheus remote write, versions 1.0 and 2.0, as Prometheus, vmagent, Alloy and the Collector send it."""

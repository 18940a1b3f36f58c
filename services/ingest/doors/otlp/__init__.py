"""OpenTelemetry's metrics over HTTP (OTLP), in protobuf and JSON, as its SDKs and the Collector send them."""

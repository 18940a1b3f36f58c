"""The bridge from an MQTT broker: subscribes, makes readings of messages, posts them to ingest, and acknowledges.

`topics` and `payloads` say what a message means; `broker` is the connection, `queue` what is in hand, `bridge` sends.
"""

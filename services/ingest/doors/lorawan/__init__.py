"""Webhooks of LoRaWAN network servers: The Things Stack and ChirpStack."""

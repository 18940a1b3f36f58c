"""From BacklogAutoscalers to the scale of their workers: decisions from the stream's counts, and what they cause."""

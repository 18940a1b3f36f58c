"""Time partitions of the readings on a Citus cluster: made ahead of them, and dropped whole at an age."""

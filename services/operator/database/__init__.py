"""The operator's hands on a database: reading what stands, applying steps, reporting."""

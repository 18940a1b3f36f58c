"""The schema: `sql/` applied, migrated, and how it stands."""

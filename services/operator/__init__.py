"""What keeps the database as it should be: applying `sql/`, and refreshing what late readings touched."""

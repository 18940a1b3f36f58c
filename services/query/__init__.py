"""The query service: a question becomes a plan, its columns are fetched and written in a format.

* `routes` reads the question, `plan` decides what is asked of the database, without asking it;
* `fetch` brings the columns, as `table` holds them, from a fresh replica or the primary, by `copy_out` where many;
* `catalogue` is what chooses sensors, and the routes that list them and tell their newest readings;
* `series` is `/series`, which lays a `grid` of buckets and merges partials onto it;
* `formats` writes them, `streaming` sends them, `keyset` cuts them into pages.
"""

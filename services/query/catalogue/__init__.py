"""The catalogue of sensors, read: `/sensors`, `/labels` and `/latest`, and the parameter `match` of all questions.

* `patterns` are globs and regular expressions, `selector` is what `match` may say, without asking the database;
* `selection` makes it a condition in SQL, and a check in Python of what SQL must not be asked;
* `plans` are the statements over the catalogue, `choice` chooses sensors by them, `routes` and `latest` serve.
"""

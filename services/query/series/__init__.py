"""`/series`: readings or buckets of one or many sensors, by any length of time in any zone.

* `question` reads the parameters and lays the grid; `plan` makes the statement, which groups by a fixed grain;
* `merge` puts what comes onto the grid and fills gaps; `routes` serves it.
"""

"""The console: pages by which people look at their sensors, served as they stand in `static`."""

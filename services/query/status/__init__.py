"""`/status`: how all of Millrace fares. A part that cannot be had says why, and the others are answered."""

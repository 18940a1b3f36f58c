"""PostgreSQL: connections whose settings hold, pools of them, and what a database can do."""

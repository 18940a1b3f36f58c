-- The schema of a fresh database, idempotent: it creates what is absent and changes nothing that is there.
--
-- `millrace schema apply` runs it and then the migrations; by hand, after bootstrap.sql, as the owner:
--
--     psql -d sensors -U millrace_owner -v ON_ERROR_STOP=1 -1 -f sql/init.sql
--
-- This file holds comments and `\ir` lines alone. README.md says where new SQL goes.

\ir roles.sql
\ir tables.sql
\ir hypertable.sql
\ir compatibility.sql
\ir functions.sql
\ir grants.sql
\ir version.sql

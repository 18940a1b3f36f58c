-- This much is version 1. Migrations count on from it.

insert into schema_migrations (version, name) values (1, 'init') on conflict (version) do nothing;

-- What the stack is held against: a table like sensor_data, with the same index, chunks, columnstore and aggregate,
-- which nothing but the benchmark writes to.

drop table if exists yardstick cascade;
create table yardstick (like sensor_data including identity including indexes);

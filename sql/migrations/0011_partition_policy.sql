-- What is done with the time partitions of the readings, where these are partitioned: on a Citus cluster.

create table partition_policy (
  id int primary key default 1 constraint partition_policy_single check (id = 1),
  width interval not null default interval '7 days',
  drop_after interval,
  constraint partition_policy_width check (width >= interval '1 hour'),
  constraint partition_policy_drop_after check (drop_after > interval '0')
);
comment on table partition_policy is 'Time partitions of sensor_data on a Citus cluster; elsewhere nobody looks here.';
comment on column partition_policy.width is 'Of partitions that are made from now on; a month counts as 30 days.';
comment on column partition_policy.drop_after is 'The age from which partitions are dropped; null where none are.';
insert into partition_policy default values;

grant select on partition_policy to millrace_reader;

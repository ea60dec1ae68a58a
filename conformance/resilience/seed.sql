-- What the resilience suite works on. Run as the superuser in the database test.

create table marks (id text primary key, round int not null);
create table items (id int primary key, name text not null);
create table large (id int primary key, payload text not null);
insert into items select n, 'item ' || n from generate_series(1, 100) as n;
alter table large alter payload set storage external;
insert into large select n, repeat(md5(n::text), 32) from generate_series(1, 100000) as n;

create role suite nologin;
grant connect on database test to suite;
grant usage on schema public to suite;
grant select, insert, update, delete on marks, items, large to suite;

create role custody_admin login createrole password :admin_password;
grant suite to custody_admin with admin option;
grant pg_signal_backend to custody_admin;
create role fixed login password :fixed_password;
grant suite to fixed;
analyze;

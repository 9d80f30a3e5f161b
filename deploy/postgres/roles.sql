-- The two logins of Rollcall, and the roles behind them. Run once, by a superuser, with psql:
--
--   psql -v owner_password=… -v worker_password=… -f roles.sql
--
-- rollcall_owner owns the schema: `rollcall migrate` alone uses it. rollcall_worker is everybody else's: it may do what
-- rollcall_app may, which row-level security binds, and nothing more. Neither may make roles, and neither is a superuser.
\set ON_ERROR_STOP on
CREATE ROLE rollcall_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE rollcall_worker LOGIN PASSWORD :'worker_password';
CREATE ROLE rollcall_app NOLOGIN;
CREATE ROLE rollcall_lookout NOLOGIN;
GRANT rollcall_app, rollcall_lookout TO rollcall_owner WITH ADMIN OPTION;
GRANT rollcall_app TO rollcall_worker;
CREATE DATABASE rollcall OWNER rollcall_owner;
REVOKE CONNECT, TEMPORARY ON DATABASE rollcall FROM PUBLIC;
GRANT CONNECT ON DATABASE rollcall TO rollcall_worker;

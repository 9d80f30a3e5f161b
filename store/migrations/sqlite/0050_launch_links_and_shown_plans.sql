-- See the PostgreSQL migration of the same number.
ALTER TABLE flag ADD COLUMN pushed_link text;
ALTER TABLE flag_program ADD COLUMN shown_plan text;

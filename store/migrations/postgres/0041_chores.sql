-- What any process may do and one does at a time. Of no district, and so of no interest to row-level security.
CREATE TABLE chore (
    name       text        PRIMARY KEY,
    claimed_at timestamptz NOT NULL
);
GRANT SELECT, INSERT, UPDATE, DELETE ON chore TO rollcall_app;

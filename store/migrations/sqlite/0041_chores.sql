-- What any process may do and one does at a time. Of no district.
CREATE TABLE chore (
    name       text PRIMARY KEY,
    claimed_at text NOT NULL
) STRICT, WITHOUT ROWID;

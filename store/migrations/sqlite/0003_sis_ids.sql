-- The id by which a SIS takes writes about a student, and the ids that students had before their SIS re-keyed its people.

ALTER TABLE student ADD COLUMN sis_id text;

-- One row for each id that a student once had. The roster's rows move to the new id; history, which nobody edits, stays
-- under the old one and is found through this.
CREATE TABLE student_rekey (
    district text NOT NULL,
    old_id text NOT NULL,
    new_id text NOT NULL,
    run blob NOT NULL,
    at text NOT NULL,
    PRIMARY KEY (district, old_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX student_rekey_new_id ON student_rekey (district, new_id);

-- The id by which a SIS takes writes about a student, and the ids that students had before their SIS re-keyed its people.

ALTER TABLE student ADD COLUMN sis_id text;

-- One row for each id that a student once had. The roster's rows move to the new id; history, which nobody edits, stays
-- under the old one and is found through this.
CREATE TABLE student_rekey (
    district text   NOT NULL,
    old_id   text   COLLATE "C" NOT NULL,
    new_id   text   COLLATE "C" NOT NULL,
    run      uuid   NOT NULL,
    at       timestamptz NOT NULL,
    PRIMARY KEY (district, old_id)
);
CREATE INDEX student_rekey_new_id ON student_rekey (district, new_id);
SELECT rollcall_tenant_table('student_rekey', 'SELECT, INSERT, UPDATE');

-- The column is new to the view too.
CREATE OR REPLACE VIEW current_student WITH (security_invoker = true) AS
SELECT * FROM student WHERE status IN ('ENROLLED', 'PRE_ENROLLED');

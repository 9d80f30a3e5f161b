-- Plans, the roster and its history. Every table is led by the district; removal is a mark with a date, never a delete.
--
-- Tables are clustered by their primary key (WITHOUT ROWID): one B-tree to write. Dates and times are ISO 8601 text.
-- No index beyond the primary keys unless a query of ours needs it: each one costs the first night.

-- One row per run that has been planned: what belongs to the plan as a whole.
CREATE TABLE plan (
    district text NOT NULL,
    run blob NOT NULL,
    -- Candidates of the second look: the planner's own bytes.
    candidates blob,
    -- Held before its second look: approval leads there.
    recheck_on_approval integer NOT NULL,
    -- A person approved the plan before its second look.
    approved integer NOT NULL DEFAULT 0,
    -- MessagePack, zstd: skips, schools, staff, baselines.
    side blob NOT NULL,
    batches integer NOT NULL,
    events integer NOT NULL,
    published_batches integer NOT NULL DEFAULT 0,
    published_events integer NOT NULL DEFAULT 0,
    settled_batches integer NOT NULL DEFAULT 0,
    settled_events integer NOT NULL DEFAULT 0,
    -- Most unsettled events in flight, as the releaser last asked for them.
    release_window integer,
    PRIMARY KEY (district, run),
    FOREIGN KEY (district, run) REFERENCES run (district, id)
) STRICT, WITHOUT ROWID;

-- Up to 256 events, exactly as they are published.
CREATE TABLE plan_batch (
    district text NOT NULL,
    run blob NOT NULL,
    batch integer NOT NULL,
    status text NOT NULL,
    events integer NOT NULL,
    published_at text,
    settled_at text,
    applied integer NOT NULL DEFAULT 0,
    superseded integer NOT NULL DEFAULT 0,
    parked integer NOT NULL DEFAULT 0,
    -- Last, so that reading the columns before it never walks its overflow pages.
    bytes blob NOT NULL,
    PRIMARY KEY (district, run, batch),
    FOREIGN KEY (district, run) REFERENCES run (district, id)
) STRICT, WITHOUT ROWID;

-- A student's event that the database refused, kept for replay.
CREATE TABLE parked_event (
    district text NOT NULL,
    run blob NOT NULL,
    batch integer NOT NULL,
    position integer NOT NULL,
    run_seq integer NOT NULL,
    -- For listings only; a character the database refuses is replaced. The event itself is in `event`.
    student_id text NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    event blob NOT NULL,
    at text NOT NULL,
    replayed_at text,
    PRIMARY KEY (district, run, batch, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE student (
    district text NOT NULL,
    student_id text NOT NULL CHECK (student_id <> ''),
    connection integer NOT NULL,
    status text NOT NULL,
    status_since text NOT NULL,
    run_seq integer NOT NULL,
    run blob NOT NULL,
    status_run blob NOT NULL,
    fingerprint blob NOT NULL,
    rule text NOT NULL,
    -- Ids of the enrollments the status rests on.
    evidence text NOT NULL,
    -- First day on which the source did not list the student any more.
    missing_since text,
    local_id text,
    state_id text,
    name_id text NOT NULL,
    first_name text,
    middle_name text,
    last_name text,
    birth_date text,
    gender text,
    grade text,
    school text,
    graduation_year integer,
    homeroom text,
    phones text NOT NULL,
    emails text NOT NULL,
    addresses text NOT NULL,
    PRIMARY KEY (district, student_id)
) STRICT, WITHOUT ROWID;

-- One row per student and contact: parents of two students stand twice.
CREATE TABLE contact (
    district text NOT NULL,
    student_id text NOT NULL,
    kind text NOT NULL,
    contact_id text NOT NULL,
    -- Place in the record, which is kept exactly.
    position integer NOT NULL,
    rank integer,
    relationship text,
    custodial integer,
    may_pick_up integer,
    name_id text NOT NULL,
    first_name text,
    middle_name text,
    last_name text,
    phones text NOT NULL,
    emails text NOT NULL,
    addresses text NOT NULL,
    -- First day on which the source did not list the link any more, and the run that saw it.
    ended_on text,
    ended_run blob,
    PRIMARY KEY (district, student_id, kind, contact_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE enrollment (
    district text NOT NULL,
    student_id text NOT NULL,
    enrollment_id text NOT NULL,
    position integer NOT NULL,
    entity text NOT NULL,
    school text,
    school_year integer,
    entry_date text,
    withdrawal_date text,
    entry_code text,
    withdrawal_code text,
    default_entity integer NOT NULL,
    no_show integer NOT NULL,
    -- The last pull showed it. What an older year held stays, marked.
    listed integer NOT NULL,
    unlisted_since text,
    PRIMARY KEY (district, student_id, enrollment_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE school (
    district text NOT NULL,
    code text NOT NULL,
    name text,
    state_id text,
    grade_low text,
    grade_high text,
    phone text,
    run blob NOT NULL,
    PRIMARY KEY (district, code)
) STRICT, WITHOUT ROWID;

CREATE TABLE staff (
    district text NOT NULL,
    staff_id text NOT NULL,
    number text,
    name_id text NOT NULL,
    first_name text,
    middle_name text,
    last_name text,
    phones text NOT NULL,
    emails text NOT NULL,
    addresses text NOT NULL,
    teacher integer NOT NULL,
    entities text NOT NULL,
    run blob NOT NULL,
    PRIMARY KEY (district, staff_id)
) STRICT, WITHOUT ROWID;

-- One row per student and run that changed the student.
CREATE TABLE history (
    district text NOT NULL,
    student_id text NOT NULL,
    run_seq integer NOT NULL,
    run blob NOT NULL,
    at text NOT NULL,
    as_of text NOT NULL,
    actor text NOT NULL,
    change text NOT NULL,
    from_status text,
    to_status text NOT NULL,
    rule text NOT NULL,
    enrollments text NOT NULL,
    -- Names of the parts of the record that changed; never values.
    parts text NOT NULL,
    PRIMARY KEY (district, student_id, run_seq)
) STRICT, WITHOUT ROWID;

-- For programs that read the roster.
CREATE VIEW current_student AS
SELECT * FROM student WHERE status IN ('ENROLLED', 'PRE_ENROLLED');

CREATE VIEW current_contact AS
SELECT * FROM contact WHERE ended_on IS NULL;

CREATE VIEW current_enrollment AS
SELECT * FROM enrollment WHERE listed;

-- Whoever can be reached: students, and the contacts they have now.
CREATE VIEW person AS
SELECT district, student_id, 'student' AS owner, NULL AS contact_id, name_id, first_name, middle_name, last_name,
       phones, emails, addresses
FROM student
UNION ALL
SELECT district, student_id, kind, contact_id, name_id, first_name, middle_name, last_name, phones, emails, addresses
FROM contact WHERE ended_on IS NULL;

CREATE VIEW person_phone AS
SELECT p.district, p.student_id, p.owner, p.contact_id, p.name_id,
       e.value ->> '$.id' AS phone_id, e.value ->> '$.rank' AS rank, e.value ->> '$.kind' AS kind,
       e.value ->> '$.number' AS number, e.value ->> '$.extension' AS extension, e.value ->> '$.confidential' AS confidential
FROM person p CROSS JOIN json_each(p.phones) AS e;

CREATE VIEW person_email AS
SELECT p.district, p.student_id, p.owner, p.contact_id, p.name_id,
       e.value ->> '$.id' AS email_id, e.value ->> '$.rank' AS rank, e.value ->> '$.kind' AS kind,
       e.value ->> '$.address' AS address
FROM person p CROSS JOIN json_each(p.emails) AS e;

CREATE VIEW person_address AS
SELECT p.district, p.student_id, p.owner, p.contact_id, p.name_id,
       e.value ->> '$.id' AS address_id, e.value ->> '$.physical' AS physical, e.value ->> '$.mailing' AS mailing,
       e.value ->> '$.line1' AS line1, e.value ->> '$.line2' AS line2, e.value ->> '$.city' AS city,
       e.value ->> '$.state' AS state, e.value ->> '$.zip' AS zip, e.value ->> '$.county' AS county, e.value ->> '$.country' AS country
FROM person p CROSS JOIN json_each(p.addresses) AS e;

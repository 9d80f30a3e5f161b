-- Plans, the roster and its history. Every table is led by the district; removal is a mark with a date, never a delete.
--
-- No index beyond the primary keys unless a query of ours needs it: each one costs the first night.
-- Ids collate "C", so that the database sorts them as Rust sorts strings.

-- One row per run that has been planned: what belongs to the plan as a whole.
CREATE TABLE plan (
    district          text   NOT NULL,
    run               uuid   NOT NULL,
    -- Candidates of the second look: the planner's own bytes.
    candidates        bytea,
    -- Held before its second look: approval leads there.
    recheck_on_approval boolean NOT NULL,
    -- A person approved the plan before its second look.
    approved          boolean NOT NULL DEFAULT false,
    -- MessagePack, zstd: skips, schools, staff, baselines.
    side              bytea  NOT NULL,
    batches           bigint NOT NULL,
    events            bigint NOT NULL,
    published_batches bigint NOT NULL DEFAULT 0,
    published_events  bigint NOT NULL DEFAULT 0,
    settled_batches   bigint NOT NULL DEFAULT 0,
    settled_events    bigint NOT NULL DEFAULT 0,
    -- Most unsettled events in flight, as the releaser last asked for them.
    release_window    bigint,
    PRIMARY KEY (district, run),
    FOREIGN KEY (district, run) REFERENCES run
);

-- Up to 256 events, exactly as they are published.
CREATE TABLE plan_batch (
    district     text    NOT NULL,
    run          uuid    NOT NULL,
    batch        bigint  NOT NULL,
    status       text    NOT NULL,
    events       bigint  NOT NULL,
    bytes        bytea   NOT NULL,
    published_at timestamptz,
    settled_at   timestamptz,
    applied      bigint  NOT NULL DEFAULT 0,
    superseded   bigint  NOT NULL DEFAULT 0,
    parked       bigint  NOT NULL DEFAULT 0,
    PRIMARY KEY (district, run, batch),
    FOREIGN KEY (district, run) REFERENCES run
);
-- zstd has done it already.
ALTER TABLE plan_batch ALTER COLUMN bytes SET STORAGE EXTERNAL;
ALTER TABLE plan ALTER COLUMN side SET STORAGE EXTERNAL, ALTER COLUMN candidates SET STORAGE EXTERNAL;

-- A student's event that the database refused, kept for replay.
CREATE TABLE parked_event (
    district    text    NOT NULL,
    run         uuid    NOT NULL,
    batch       bigint  NOT NULL,
    position    bigint  NOT NULL,
    run_seq     bigint  NOT NULL,
    -- For listings only; a character the database refuses is replaced. The event itself is in `event`.
    student_id  text    NOT NULL,
    reason      text    NOT NULL,
    detail      text    NOT NULL,
    event       bytea   NOT NULL,
    at          timestamptz NOT NULL,
    replayed_at timestamptz,
    PRIMARY KEY (district, run, batch, position)
);

CREATE TABLE student (
    district        text    NOT NULL,
    student_id      text    COLLATE "C" NOT NULL CHECK (student_id <> ''),
    connection      bigint  NOT NULL,
    status          text    NOT NULL,
    status_since    date    NOT NULL,
    run_seq         bigint  NOT NULL,
    run             uuid    NOT NULL,
    status_run      uuid    NOT NULL,
    fingerprint     bytea   NOT NULL,
    rule            text    NOT NULL,
    -- Ids of the enrollments the status rests on.
    evidence        jsonb   NOT NULL,
    -- First day on which the source did not list the student any more.
    missing_since   date,
    local_id        text,
    state_id        text,
    name_id         text    NOT NULL,
    first_name      text,
    middle_name     text,
    last_name       text,
    birth_date      date,
    gender          text,
    grade           text,
    school          text,
    graduation_year bigint ,
    homeroom        text,
    phones          jsonb   NOT NULL,
    emails          jsonb   NOT NULL,
    addresses       jsonb   NOT NULL,
    PRIMARY KEY (district, student_id)
);

-- One row per student and contact: parents of two students stand twice.
CREATE TABLE contact (
    district     text    NOT NULL,
    student_id   text    COLLATE "C" NOT NULL,
    kind         text    NOT NULL,
    contact_id   text    COLLATE "C" NOT NULL,
    -- Place in the record, which is kept exactly.
    position     bigint  NOT NULL,
    rank         bigint ,
    relationship text,
    custodial    boolean,
    may_pick_up  boolean,
    name_id      text    NOT NULL,
    first_name   text,
    middle_name  text,
    last_name    text,
    phones       jsonb   NOT NULL,
    emails       jsonb   NOT NULL,
    addresses    jsonb   NOT NULL,
    -- First day on which the source did not list the link any more, and the run that saw it.
    ended_on     date,
    ended_run    uuid,
    PRIMARY KEY (district, student_id, kind, contact_id)
);

CREATE TABLE enrollment (
    district        text    NOT NULL,
    student_id      text    COLLATE "C" NOT NULL,
    enrollment_id   text    COLLATE "C" NOT NULL,
    position        bigint  NOT NULL,
    entity          text    NOT NULL,
    school          text,
    school_year     bigint ,
    entry_date      date,
    withdrawal_date date,
    entry_code      text,
    withdrawal_code text,
    default_entity  boolean NOT NULL,
    no_show         boolean NOT NULL,
    -- The last pull showed it. What an older year held stays, marked.
    listed          boolean NOT NULL,
    unlisted_since  date,
    PRIMARY KEY (district, student_id, enrollment_id)
);

CREATE TABLE school (
    district   text NOT NULL,
    code       text COLLATE "C" NOT NULL,
    name       text,
    state_id   text,
    grade_low  text,
    grade_high text,
    phone      text,
    run        uuid NOT NULL,
    PRIMARY KEY (district, code)
);

CREATE TABLE staff (
    district    text    NOT NULL,
    staff_id    text    COLLATE "C" NOT NULL,
    number      text,
    name_id     text    NOT NULL,
    first_name  text,
    middle_name text,
    last_name   text,
    phones      jsonb   NOT NULL,
    emails      jsonb   NOT NULL,
    addresses   jsonb   NOT NULL,
    teacher     boolean NOT NULL,
    entities    jsonb   NOT NULL,
    run         uuid    NOT NULL,
    PRIMARY KEY (district, staff_id)
);

-- One row per student and run that changed the student.
CREATE TABLE history (
    district    text   NOT NULL,
    student_id  text   COLLATE "C" NOT NULL,
    run_seq     bigint NOT NULL,
    run         uuid   NOT NULL,
    at          timestamptz NOT NULL,
    as_of       date   NOT NULL,
    actor       text   NOT NULL,
    change      text   NOT NULL,
    from_status text,
    to_status   text   NOT NULL,
    rule        text   NOT NULL,
    enrollments jsonb  NOT NULL,
    -- Names of the parts of the record that changed; never values.
    parts       jsonb  NOT NULL,
    PRIMARY KEY (district, student_id, run_seq)
);

SELECT rollcall_tenant_table('plan', 'SELECT, INSERT, UPDATE');
SELECT rollcall_tenant_table('plan_batch');
SELECT rollcall_tenant_table('parked_event', 'SELECT, INSERT, UPDATE');
-- Nobody deletes a student, a link or a spell of attendance; nobody edits history.
SELECT rollcall_tenant_table('student', 'SELECT, INSERT, UPDATE');
SELECT rollcall_tenant_table('contact', 'SELECT, INSERT, UPDATE');
SELECT rollcall_tenant_table('enrollment', 'SELECT, INSERT, UPDATE');
SELECT rollcall_tenant_table('school', 'SELECT, INSERT, UPDATE');
SELECT rollcall_tenant_table('staff', 'SELECT, INSERT, UPDATE');
SELECT rollcall_tenant_table('history', 'SELECT, INSERT');

-- For programs that read the roster. security_invoker: row-level security judges the reader, not the views' owner.
CREATE VIEW current_student WITH (security_invoker = true) AS
SELECT * FROM student WHERE status IN ('ENROLLED', 'PRE_ENROLLED');

CREATE VIEW current_contact WITH (security_invoker = true) AS
SELECT * FROM contact WHERE ended_on IS NULL;

CREATE VIEW current_enrollment WITH (security_invoker = true) AS
SELECT * FROM enrollment WHERE listed;

-- Whoever can be reached: students, and the contacts they have now.
CREATE VIEW person WITH (security_invoker = true) AS
SELECT district, student_id, 'student' AS owner, NULL::text AS contact_id, name_id, first_name, middle_name, last_name,
       phones, emails, addresses
FROM student
UNION ALL
SELECT district, student_id, kind, contact_id, name_id, first_name, middle_name, last_name, phones, emails, addresses
FROM contact WHERE ended_on IS NULL;

CREATE VIEW person_phone WITH (security_invoker = true) AS
SELECT p.district, p.student_id, p.owner, p.contact_id, p.name_id,
       e ->> 'id' AS phone_id, (e ->> 'rank')::integer AS rank, e ->> 'kind' AS kind, e ->> 'number' AS number,
       e ->> 'extension' AS extension, (e ->> 'confidential')::boolean AS confidential
FROM person p CROSS JOIN LATERAL jsonb_array_elements(p.phones) AS e;

CREATE VIEW person_email WITH (security_invoker = true) AS
SELECT p.district, p.student_id, p.owner, p.contact_id, p.name_id,
       e ->> 'id' AS email_id, (e ->> 'rank')::integer AS rank, e ->> 'kind' AS kind, e ->> 'address' AS address
FROM person p CROSS JOIN LATERAL jsonb_array_elements(p.emails) AS e;

CREATE VIEW person_address WITH (security_invoker = true) AS
SELECT p.district, p.student_id, p.owner, p.contact_id, p.name_id,
       e ->> 'id' AS address_id, (e ->> 'physical')::boolean AS physical, (e ->> 'mailing')::boolean AS mailing,
       e ->> 'line1' AS line1, e ->> 'line2' AS line2, e ->> 'city' AS city, e ->> 'state' AS state,
       e ->> 'zip' AS zip, e ->> 'county' AS county, e ->> 'country' AS country
FROM person p CROSS JOIN LATERAL jsonb_array_elements(p.addresses) AS e;

GRANT SELECT ON current_student, current_contact, current_enrollment, person, person_phone, person_email, person_address
    TO rollcall_app;

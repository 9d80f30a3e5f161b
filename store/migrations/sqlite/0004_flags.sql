-- Plan documents, participations, program flags and what was done about them. Nothing here is ever deleted but what
-- says that work is due.

-- Programs that documents may belong to, beside those that every district has (store/src/document.rs).
CREATE TABLE program (
    district text NOT NULL REFERENCES district,
    program text NOT NULL CHECK (program <> ''),
    created_at text NOT NULL,
    PRIMARY KEY (district, program)
) STRICT, WITHOUT ROWID;

CREATE TABLE document (
    district text NOT NULL REFERENCES district,
    document_id text NOT NULL CHECK (document_id <> ''),
    student_id text NOT NULL,
    program text NOT NULL,
    kind text NOT NULL,
    status text NOT NULL CHECK (status IN ('draft', 'completed', 'withdrawn')),
    starts_on text NOT NULL,
    -- Last day; NULL: open.
    ends_on text,
    version integer NOT NULL,
    -- Digest of what was asked for: the same again is no new version.
    digest blob NOT NULL,
    -- The version whose content counts, where there is any.
    data_version integer,
    file_version integer,
    file_type text,
    file_bytes integer,
    created_at text NOT NULL,
    created_by text NOT NULL,
    updated_at text NOT NULL,
    completed_at text,
    PRIMARY KEY (district, document_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX document_by_student ON document (district, student_id, program);

-- What a document was at each version: appended to, never edited.
CREATE TABLE document_version (
    district text NOT NULL,
    document_id text NOT NULL,
    version integer NOT NULL,
    at text NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    kind text NOT NULL,
    status text NOT NULL,
    starts_on text NOT NULL,
    ends_on text,
    PRIMARY KEY (district, document_id, version),
    FOREIGN KEY (district, document_id) REFERENCES document
) STRICT, WITHOUT ROWID;

-- Demographics (of version 1, for good), structured data and files, sealed.
CREATE TABLE document_content (
    district text NOT NULL,
    document_id text NOT NULL,
    version integer NOT NULL,
    part text NOT NULL CHECK (part IN ('demographics', 'data', 'file')),
    sealed blob NOT NULL,
    PRIMARY KEY (district, document_id, version, part),
    FOREIGN KEY (district, document_id) REFERENCES document
) STRICT;

-- What an integration's idempotency key was first used for.
CREATE TABLE document_request (
    district text NOT NULL REFERENCES district,
    actor text NOT NULL,
    key text NOT NULL,
    digest blob NOT NULL,
    document_id text NOT NULL,
    at text NOT NULL,
    PRIMARY KEY (district, actor, key)
) STRICT, WITHOUT ROWID;

-- A student's time in a program, worked out from completed documents. Its id stays while it is the same one.
CREATE TABLE participation (
    district text NOT NULL REFERENCES district,
    participation blob NOT NULL,
    student_id text NOT NULL,
    program text NOT NULL,
    starts_on text NOT NULL,
    ends_on text,
    -- The day on which no completed document spoke for it any more.
    void_on text,
    -- Ids of the documents it rests on: a JSON array.
    documents text NOT NULL,
    updated_at text NOT NULL,
    PRIMARY KEY (district, participation)
) STRICT, WITHOUT ROWID;
CREATE INDEX participation_by_student ON participation (district, student_id);

-- A participation as the SIS shows it, or should.
CREATE TABLE flag (
    district text NOT NULL REFERENCES district,
    flag blob NOT NULL,
    participation blob NOT NULL,
    student_id text NOT NULL,
    program text NOT NULL,
    sis_id text,
    -- What it should be.
    starts_on text NOT NULL,
    ends_on text,
    state text NOT NULL CHECK (state IN ('wanted', 'accepted', 'pushed', 'drift', 'failed', 'no-sis-id')),
    reason text,
    -- To be pushed, and why.
    due integer NOT NULL,
    why text,
    -- What the SIS accepted last.
    pushed_starts_on text,
    pushed_ends_on text,
    pushed_sis_id text,
    program_sis_id text,
    pushed_at text,
    -- When it was read back.
    verified_at text,
    updated_at text NOT NULL,
    PRIMARY KEY (district, flag),
    UNIQUE (district, participation)
) STRICT, WITHOUT ROWID;
CREATE INDEX flag_by_student ON flag (district, student_id);
CREATE INDEX flag_due ON flag (district, student_id, flag) WHERE due;
CREATE INDEX flag_accepted ON flag (district, flag) WHERE state = 'accepted';

-- Who did what to which flag, when, why, and what the SIS answered.
CREATE TABLE flag_ledger (
    id integer PRIMARY KEY AUTOINCREMENT,
    district text NOT NULL REFERENCES district,
    at text NOT NULL,
    actor text NOT NULL,
    flag text NOT NULL,
    student_id text,
    program text NOT NULL,
    action text NOT NULL,
    why text NOT NULL,
    starts_on text,
    ends_on text,
    -- HTTP status, or a reason code.
    answer text NOT NULL
) STRICT;
CREATE INDEX flag_ledger_by_flag ON flag_ledger (district, flag, id);

-- A program's take-over of existing flags, once approved.
CREATE TABLE cutover (
    district text NOT NULL REFERENCES district,
    program text NOT NULL,
    cutover text NOT NULL,
    approved_by text NOT NULL,
    approved_at text NOT NULL,
    -- After the last of its flags was read back.
    done_at text,
    PRIMARY KEY (district, program)
) STRICT, WITHOUT ROWID;

-- The flags to end, fixed at approval.
CREATE TABLE cutover_flag (
    district text NOT NULL,
    program text NOT NULL,
    -- The SIS's own id of the flag.
    flag text NOT NULL,
    sis_id text NOT NULL,
    done_at text,
    outcome text,
    PRIMARY KEY (district, program, flag),
    FOREIGN KEY (district, program) REFERENCES cutover
) STRICT, WITHOUT ROWID;

-- How far a district's flags are.
CREATE TABLE flag_sync (
    district text NOT NULL PRIMARY KEY REFERENCES district,
    -- Some program has flags switched on.
    enabled integer NOT NULL,
    -- When the facts of the last whole sync were read.
    synced_at text,
    lease blob,
    lease_until text,
    -- The SIS is away: nobody tries before.
    retry_at text,
    failures integer NOT NULL DEFAULT 0,
    problem text,
    asked_at    text
) STRICT, WITHOUT ROWID;

-- Programs that cannot be synced, and why.
CREATE TABLE flag_program (
    district text NOT NULL REFERENCES district,
    program text NOT NULL,
    problem text,
    program_sis_id text,
    updated_at text NOT NULL,
    PRIMARY KEY (district, program)
) STRICT, WITHOUT ROWID;

-- Students whose completed documents changed since their flags were last looked at.
CREATE TABLE flag_pending (
    district text NOT NULL REFERENCES district,
    student_id text NOT NULL,
    since text NOT NULL,
    PRIMARY KEY (district, student_id)
) STRICT, WITHOUT ROWID;

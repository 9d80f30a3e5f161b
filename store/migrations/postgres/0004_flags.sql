-- Plan documents, participations, program flags and what was done about them. Nothing here is ever deleted but what
-- says that work is due.

-- Programs that documents may belong to, beside those that every district has (store/src/document.rs).
CREATE TABLE program (
    district   text COLLATE "C" NOT NULL REFERENCES district,
    program    text COLLATE "C" NOT NULL CHECK (program <> ''),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (district, program)
);

CREATE TABLE document (
    district     text   NOT NULL REFERENCES district,
    document_id  text   COLLATE "C" NOT NULL CHECK (document_id <> ''),
    student_id   text   COLLATE "C" NOT NULL,
    program      text   COLLATE "C" NOT NULL,
    kind         text   NOT NULL,
    status       text   NOT NULL CHECK (status IN ('draft', 'completed', 'withdrawn')),
    starts_on    date   NOT NULL,
    -- Last day; NULL: open.
    ends_on      date,
    version      bigint NOT NULL,
    -- Digest of what was asked for: the same again is no new version.
    digest       bytea  NOT NULL,
    -- The version whose content counts, where there is any.
    data_version bigint,
    file_version bigint,
    file_type    text,
    file_bytes   bigint,
    created_at   timestamptz NOT NULL,
    created_by   text   NOT NULL,
    updated_at   timestamptz NOT NULL,
    completed_at timestamptz,
    PRIMARY KEY (district, document_id)
);
CREATE INDEX document_by_student ON document (district, student_id, program);

-- What a document was at each version: appended to, never edited.
CREATE TABLE document_version (
    district    text   NOT NULL,
    document_id text   COLLATE "C" NOT NULL,
    version     bigint NOT NULL,
    at          timestamptz NOT NULL,
    actor       text   NOT NULL,
    action      text   NOT NULL,
    kind        text   NOT NULL,
    status      text   NOT NULL,
    starts_on   date   NOT NULL,
    ends_on     date,
    PRIMARY KEY (district, document_id, version),
    FOREIGN KEY (district, document_id) REFERENCES document
);

-- Demographics (of version 1, for good), structured data and files, sealed.
CREATE TABLE document_content (
    district    text   NOT NULL,
    document_id text   COLLATE "C" NOT NULL,
    version     bigint NOT NULL,
    part        text   NOT NULL CHECK (part IN ('demographics', 'data', 'file')),
    sealed      bytea  NOT NULL,
    PRIMARY KEY (district, document_id, version, part),
    FOREIGN KEY (district, document_id) REFERENCES document
);
ALTER TABLE document_content ALTER COLUMN sealed SET STORAGE EXTERNAL;

-- What an integration's idempotency key was first used for.
CREATE TABLE document_request (
    district    text  NOT NULL REFERENCES district,
    actor       text  NOT NULL,
    key         text  NOT NULL,
    digest      bytea NOT NULL,
    document_id text  COLLATE "C" NOT NULL,
    at          timestamptz NOT NULL,
    PRIMARY KEY (district, actor, key)
);

-- A student's time in a program, worked out from completed documents. Its id stays while it is the same one.
CREATE TABLE participation (
    district      text NOT NULL REFERENCES district,
    participation uuid NOT NULL,
    student_id    text COLLATE "C" NOT NULL,
    program       text COLLATE "C" NOT NULL,
    starts_on     date NOT NULL,
    ends_on       date,
    -- The day on which no completed document spoke for it any more.
    void_on       date,
    -- Ids of the documents it rests on: a JSON array.
    documents     text NOT NULL,
    updated_at    timestamptz NOT NULL,
    PRIMARY KEY (district, participation)
);
CREATE INDEX participation_by_student ON participation (district, student_id);

-- A participation as the SIS shows it, or should.
CREATE TABLE flag (
    district         text  NOT NULL REFERENCES district,
    flag             uuid  NOT NULL,
    participation    uuid  NOT NULL,
    student_id       text  COLLATE "C" NOT NULL,
    program          text  COLLATE "C" NOT NULL,
    sis_id           text,
    -- What it should be.
    starts_on        date  NOT NULL,
    ends_on          date,
    state            text  NOT NULL CHECK (state IN ('wanted', 'accepted', 'pushed', 'drift', 'failed', 'no-sis-id')),
    reason           text,
    -- To be pushed, and why.
    due              boolean NOT NULL,
    why              text,
    -- What the SIS accepted last.
    pushed_starts_on date,
    pushed_ends_on   date,
    pushed_sis_id    text,
    program_sis_id   text,
    pushed_at        timestamptz,
    -- When it was read back.
    verified_at      timestamptz,
    updated_at       timestamptz NOT NULL,
    PRIMARY KEY (district, flag),
    UNIQUE (district, participation)
);
CREATE INDEX flag_by_student ON flag (district, student_id);
CREATE INDEX flag_due ON flag (district, student_id, flag) WHERE due;
CREATE INDEX flag_accepted ON flag (district, flag) WHERE state = 'accepted';

-- Who did what to which flag, when, why, and what the SIS answered.
CREATE TABLE flag_ledger (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    district   text NOT NULL REFERENCES district,
    at         timestamptz NOT NULL,
    actor      text NOT NULL,
    flag       text NOT NULL,
    student_id text COLLATE "C",
    program    text COLLATE "C" NOT NULL,
    action     text NOT NULL,
    why        text NOT NULL,
    starts_on  date,
    ends_on    date,
    -- HTTP status, or a reason code.
    answer     text NOT NULL
);
CREATE INDEX flag_ledger_by_flag ON flag_ledger (district, flag, id);

-- A program's take-over of existing flags, once approved.
CREATE TABLE cutover (
    district    text NOT NULL REFERENCES district,
    program     text COLLATE "C" NOT NULL,
    cutover     date NOT NULL,
    approved_by text NOT NULL,
    approved_at timestamptz NOT NULL,
    -- After the last of its flags was read back.
    done_at     timestamptz,
    PRIMARY KEY (district, program)
);

-- The flags to end, fixed at approval.
CREATE TABLE cutover_flag (
    district text NOT NULL,
    program  text COLLATE "C" NOT NULL,
    -- The SIS's own id of the flag.
    flag     text COLLATE "C" NOT NULL,
    sis_id   text NOT NULL,
    done_at  timestamptz,
    outcome  text,
    PRIMARY KEY (district, program, flag),
    FOREIGN KEY (district, program) REFERENCES cutover
);

-- How far a district's flags are.
CREATE TABLE flag_sync (
    district    text PRIMARY KEY REFERENCES district,
    -- Some program has flags switched on.
    enabled     boolean NOT NULL,
    -- When the facts of the last whole sync were read.
    synced_at   timestamptz,
    lease       uuid,
    lease_until timestamptz,
    -- The SIS is away: nobody tries before.
    retry_at    timestamptz,
    failures    bigint NOT NULL DEFAULT 0,
    problem     text,
    asked_at    timestamptz
);

-- Programs that cannot be synced, and why.
CREATE TABLE flag_program (
    district   text NOT NULL REFERENCES district,
    program    text COLLATE "C" NOT NULL,
    problem    text,
    program_sis_id text,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (district, program)
);

-- Students whose completed documents changed since their flags were last looked at.
CREATE TABLE flag_pending (
    district   text NOT NULL REFERENCES district,
    student_id text COLLATE "C" NOT NULL,
    since      timestamptz NOT NULL,
    PRIMARY KEY (district, student_id)
);

SELECT rollcall_tenant_table('program', 'SELECT, INSERT, UPDATE');
SELECT rollcall_tenant_table('document', 'SELECT, INSERT, UPDATE');
SELECT rollcall_tenant_table('document_version', 'SELECT, INSERT');
SELECT rollcall_tenant_table('document_content', 'SELECT, INSERT, UPDATE');
SELECT rollcall_tenant_table('document_request');
SELECT rollcall_tenant_table('participation', 'SELECT, INSERT, UPDATE');
SELECT rollcall_tenant_table('flag', 'SELECT, INSERT, UPDATE');
SELECT rollcall_tenant_table('flag_ledger', 'SELECT, INSERT');
SELECT rollcall_tenant_table('cutover', 'SELECT, INSERT, UPDATE');
SELECT rollcall_tenant_table('cutover_flag');
SELECT rollcall_tenant_table('flag_sync', 'SELECT, INSERT, UPDATE');
SELECT rollcall_tenant_table('flag_program', 'SELECT, INSERT, UPDATE');
SELECT rollcall_tenant_table('flag_pending');

GRANT SELECT (district, enabled, synced_at, retry_at, lease_until, asked_at) ON flag_sync TO rollcall_lookout;
GRANT SELECT (district, since) ON flag_pending TO rollcall_lookout;
GRANT SELECT (district, due, state, updated_at) ON flag TO rollcall_lookout;
CREATE POLICY lookout ON flag_sync FOR SELECT TO rollcall_lookout USING (true);
CREATE POLICY lookout ON flag_pending FOR SELECT TO rollcall_lookout USING (true);
CREATE POLICY lookout ON flag FOR SELECT TO rollcall_lookout USING (true);
GRANT SELECT (district, program, cutover, done_at) ON cutover TO rollcall_lookout;
GRANT SELECT (district, program, done_at, outcome) ON cutover_flag TO rollcall_lookout;
CREATE POLICY lookout ON cutover FOR SELECT TO rollcall_lookout USING (true);
CREATE POLICY lookout ON cutover_flag FOR SELECT TO rollcall_lookout USING (true);

CREATE FUNCTION lookout_flag_syncs()
RETURNS TABLE (district text, synced_at timestamptz, stopped_at timestamptz, pending_since timestamptz, unfinished boolean,
               retry_at timestamptz, lease_until timestamptz, asked_at timestamptz, take_over_on date)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT s.district, s.synced_at,
           (SELECT max(coalesce(r.ended_at, r.touched_at)) FROM public.run r
            WHERE r.district = s.district AND r.stage IN ('held', 'closed')),
           (SELECT min(p.since) FROM public.flag_pending p WHERE p.district = s.district),
           EXISTS (SELECT 1 FROM public.flag f WHERE f.district = s.district AND (f.due OR f.state = 'accepted')),
           s.retry_at, s.lease_until, s.asked_at,
           (SELECT min(c.cutover) FROM public.cutover c
            JOIN public.cutover_flag o ON o.district = c.district AND o.program = c.program
            WHERE c.district = s.district AND c.done_at IS NULL AND o.done_at IS NULL AND o.outcome IS NULL)
    FROM public.flag_sync s JOIN public.district d ON d.district = s.district
    WHERE s.enabled AND d.removed_at IS NULL ORDER BY s.district
$$;
SELECT rollcall_lookout_function('lookout_flag_syncs()');

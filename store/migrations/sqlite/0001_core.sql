-- Districts, connections, runs, pulls and pages. One directory, one operator: no row-level security here.
--
-- Dates and times are ISO 8601 text, ids of runs 16 bytes.

CREATE TABLE district (
    district text NOT NULL PRIMARY KEY,
    name text NOT NULL,
    -- The district's file as JSON, without secrets.
    config text NOT NULL,
    time_zone text NOT NULL,
    schedule_at text NOT NULL,
    schedule_weekends integer NOT NULL,
    schedule_enabled integer NOT NULL,
    -- Nothing before is caught up.
    schedule_since text NOT NULL,
    -- Local date of the last scheduled run.
    last_scheduled text,
    -- Number of the last run made.
    run_seq integer NOT NULL DEFAULT 0,
    -- Grows with every released plan.
    roster_version integer NOT NULL DEFAULT 0,
    created_at text NOT NULL,
    updated_at text NOT NULL,
    removed_at text
) STRICT, WITHOUT ROWID;

CREATE TABLE connection (
    district text NOT NULL REFERENCES district,
    connection integer NOT NULL,
    -- Sealed.
    secrets blob NOT NULL,
    updated_at text NOT NULL,
    PRIMARY KEY (district, connection)
) STRICT, WITHOUT ROWID;

CREATE TABLE run (
    district text NOT NULL REFERENCES district,
    id blob NOT NULL,
    seq integer NOT NULL,
    as_of text NOT NULL,
    trigger text NOT NULL CHECK (trigger IN ('scheduled', 'manual')),
    state text NOT NULL CHECK (state IN
        ('queued', 'running', 'held', 'succeeded', 'partial', 'failed', 'cancelled', 'discarded')),
    stage text NOT NULL CHECK (stage IN ('pull', 'plan', 'recheck', 'held', 'release', 'closed')),
    plan_only integer NOT NULL,
    as_of_given integer NOT NULL,
    requested_by text NOT NULL,
    approved_by text,
    listed integer NOT NULL DEFAULT 0,
    missing integer NOT NULL DEFAULT 0,
    added integer NOT NULL DEFAULT 0,
    changed integer NOT NULL DEFAULT 0,
    removed integer NOT NULL DEFAULT 0,
    unchanged integer NOT NULL DEFAULT 0,
    skipped integer NOT NULL DEFAULT 0,
    applied integer NOT NULL DEFAULT 0,
    parked integer NOT NULL DEFAULT 0,
    superseded integer NOT NULL DEFAULT 0,
    reason text,
    plan_hash text,
    planned_roster_version integer,
    created_at text NOT NULL,
    started_at text,
    pulled_at text,
    planned_at text,
    released_at text,
    ended_at text,
    -- Last change of stage or counts. A page's arrival is in `page`.
    touched_at text NOT NULL,
    plan_lease_until text,
    reconciled_at text,
    PRIMARY KEY (district, id),
    UNIQUE (district, seq)
) STRICT, WITHOUT ROWID;
-- One scheduled run per district and local date, however many schedulers tick.
CREATE UNIQUE INDEX run_scheduled_once ON run (district, as_of) WHERE trigger = 'scheduled';
-- For the reconciler.
CREATE INDEX run_open ON run (created_at) WHERE ended_at IS NULL;
-- For commands that name only the run, and for the newest runs of all districts.
CREATE INDEX run_by_id ON run (id);

CREATE TABLE finding (
    -- Order of first appearance.
    position integer PRIMARY KEY AUTOINCREMENT,
    district text NOT NULL,
    run blob NOT NULL,
    -- Made by the planner, which replaces its own when it plans again.
    planned integer NOT NULL,
    -- Digest of code and message: the same finding is counted, not repeated.
    digest blob NOT NULL,
    weight text NOT NULL CHECK (weight IN ('warning', 'partial')),
    code text NOT NULL,
    message text NOT NULL,
    count integer NOT NULL,
    UNIQUE (district, run, planned, digest),
    FOREIGN KEY (district, run) REFERENCES run (district, id)
) STRICT;

CREATE TABLE pull (
    district text NOT NULL,
    run blob NOT NULL,
    connection integer NOT NULL,
    state text NOT NULL CHECK (state IN ('discovering', 'fetching', 'fetched', 'failed')),
    reason text,
    -- MessagePack, zstd; the board too.
    discovery blob,
    board blob,
    PRIMARY KEY (district, run, connection),
    FOREIGN KEY (district, run) REFERENCES run (district, id)
) STRICT;

CREATE TABLE page (
    district text NOT NULL,
    run blob NOT NULL,
    connection integer NOT NULL,
    listing integer NOT NULL,
    page integer NOT NULL,
    status integer NOT NULL,
    rows integer NOT NULL,
    digest blob NOT NULL,
    claimed_total integer,
    error text,
    asked_at text,
    took_ms integer NOT NULL,
    -- NULL: only the raw body is here so far, too large for a message.
    collected_at text,
    -- As the classifier encoded them; empty when the page did not decode.
    fragments blob NOT NULL,
    -- zstd, sealed. Kept for replay, then forgotten. Last, so that reading the columns before it never walks its
    -- overflow pages.
    raw blob,
    PRIMARY KEY (district, run, connection, listing, page),
    FOREIGN KEY (district, run) REFERENCES run (district, id)
) STRICT;

CREATE TABLE baseline (
    district text NOT NULL REFERENCES district,
    connection integer NOT NULL,
    -- JSON.
    baseline text NOT NULL,
    updated_at text NOT NULL,
    PRIMARY KEY (district, connection)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    id integer PRIMARY KEY AUTOINCREMENT,
    district text NOT NULL,
    at text NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    run blob,
    detail text NOT NULL
) STRICT;
CREATE INDEX audit_by_district ON audit (district, id);
-- Nobody edits the audit trail.
CREATE TRIGGER audit_is_not_edited BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit trail is not edited'); END;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit trail is not deleted'); END;

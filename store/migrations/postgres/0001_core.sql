-- Districts, connections, runs, pulls and pages, with row-level security.
--
-- The roles rollcall_app and rollcall_lookout are made before the migrations (roles belong to the cluster, not to a
-- database). All integers are bigint: one type to bind and to read.

-- Forces row-level security on a table whose rows belong to districts, and grants the application what it does there.
-- Only the schema's owner calls it, from migrations.
CREATE FUNCTION rollcall_tenant_table(tenant_table regclass, privileges text DEFAULT 'SELECT, INSERT, UPDATE, DELETE')
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', tenant_table);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', tenant_table);
    EXECUTE format(
        'CREATE POLICY tenant ON %s USING (district = current_setting(''rollcall.district'', true))'
        ' WITH CHECK (district = current_setting(''rollcall.district'', true))', tenant_table);
    EXECUTE format('GRANT %s ON %s TO rollcall_app', privileges, tenant_table);
END $$;
REVOKE ALL ON FUNCTION rollcall_tenant_table(regclass, text) FROM PUBLIC;

-- Hands a function that looks across districts to rollcall_lookout, for rollcall_app to call. What that takes (being a
-- member of the role, and the role's right to create in the schema) is taken back at once: a member would see what the
-- role sees. Only the schema's owner calls it, from migrations.
CREATE FUNCTION rollcall_lookout_function(lookout regprocedure) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    member boolean;
BEGIN
    IF current_setting('server_version_num')::integer >= 160000 THEN
        member := pg_has_role(current_user, 'rollcall_lookout', 'SET');
    ELSE
        member := pg_has_role(current_user, 'rollcall_lookout', 'MEMBER');
    END IF;
    IF NOT member THEN
        GRANT rollcall_lookout TO CURRENT_USER;
    END IF;
    GRANT CREATE ON SCHEMA public TO rollcall_lookout;
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', lookout);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO rollcall_app', lookout);
    EXECUTE format('ALTER FUNCTION %s OWNER TO rollcall_lookout', lookout);
    REVOKE CREATE ON SCHEMA public FROM rollcall_lookout;
    IF NOT member THEN
        REVOKE rollcall_lookout FROM CURRENT_USER;
    END IF;
END $$;
REVOKE ALL ON FUNCTION rollcall_lookout_function(regprocedure) FROM PUBLIC;

GRANT USAGE ON SCHEMA public TO rollcall_app, rollcall_lookout;
GRANT SELECT ON _sqlx_migrations TO rollcall_app;

CREATE TABLE district (
    district         text PRIMARY KEY,
    name             text        NOT NULL,
    -- The district's file as JSON, without secrets.
    config           text        NOT NULL,
    time_zone        text        NOT NULL,
    schedule_at      text        NOT NULL,
    schedule_weekends boolean    NOT NULL,
    schedule_enabled boolean     NOT NULL,
    -- Nothing before is caught up.
    schedule_since   timestamptz NOT NULL,
    -- Local date of the last scheduled run.
    last_scheduled   date,
    -- Number of the last run made.
    run_seq          bigint      NOT NULL DEFAULT 0,
    -- Grows with every released plan.
    roster_version   bigint      NOT NULL DEFAULT 0,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    removed_at       timestamptz
);

CREATE TABLE connection (
    district   text        NOT NULL REFERENCES district,
    connection bigint      NOT NULL,
    -- Sealed.
    secrets    bytea       NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (district, connection)
);

CREATE TABLE run (
    district      text   NOT NULL REFERENCES district,
    id            uuid   NOT NULL,
    seq           bigint NOT NULL,
    as_of         date   NOT NULL,
    trigger       text   NOT NULL CHECK (trigger IN ('scheduled', 'manual')),
    state         text   NOT NULL CHECK (state IN
                      ('queued', 'running', 'held', 'succeeded', 'partial', 'failed', 'cancelled', 'discarded')),
    stage         text   NOT NULL CHECK (stage IN ('pull', 'plan', 'recheck', 'held', 'release', 'closed')),
    plan_only     boolean NOT NULL,
    as_of_given   boolean NOT NULL,
    requested_by  text   NOT NULL,
    approved_by   text,
    listed        bigint NOT NULL DEFAULT 0,
    missing       bigint NOT NULL DEFAULT 0,
    added         bigint NOT NULL DEFAULT 0,
    changed       bigint NOT NULL DEFAULT 0,
    removed       bigint NOT NULL DEFAULT 0,
    unchanged     bigint NOT NULL DEFAULT 0,
    skipped       bigint NOT NULL DEFAULT 0,
    applied       bigint NOT NULL DEFAULT 0,
    parked        bigint NOT NULL DEFAULT 0,
    superseded    bigint NOT NULL DEFAULT 0,
    reason        text,
    plan_hash     text,
    planned_roster_version bigint,
    created_at    timestamptz NOT NULL,
    started_at    timestamptz,
    pulled_at     timestamptz,
    planned_at    timestamptz,
    released_at   timestamptz,
    ended_at      timestamptz,
    -- Last change of stage or counts. A page's arrival is in `page`: pages come from many workers at once, and must
    -- not queue for this row.
    touched_at    timestamptz NOT NULL,
    plan_lease_until timestamptz,
    reconciled_at timestamptz,
    PRIMARY KEY (district, id),
    UNIQUE (district, seq)
) WITH (fillfactor = 70);
-- One scheduled run per district and local date, however many schedulers tick.
CREATE UNIQUE INDEX run_scheduled_once ON run (district, as_of) WHERE trigger = 'scheduled';
-- For the reconciler.
CREATE INDEX run_open ON run (created_at) WHERE ended_at IS NULL;
-- For commands that name only the run, and for the newest runs of all districts.
CREATE INDEX run_by_id ON run (id);

CREATE TABLE finding (
    district text    NOT NULL,
    run      uuid    NOT NULL,
    -- Made by the planner, which replaces its own when it plans again.
    planned  boolean NOT NULL,
    -- Digest of code and message: the same finding is counted, not repeated.
    digest   bytea   NOT NULL,
    -- Order of first appearance.
    position bigint  GENERATED ALWAYS AS IDENTITY,
    weight   text    NOT NULL CHECK (weight IN ('warning', 'partial')),
    code     text    NOT NULL,
    message  text    NOT NULL,
    count    bigint  NOT NULL,
    PRIMARY KEY (district, run, planned, digest),
    FOREIGN KEY (district, run) REFERENCES run
);

CREATE TABLE pull (
    district   text   NOT NULL,
    run        uuid   NOT NULL,
    connection bigint NOT NULL,
    state      text   NOT NULL CHECK (state IN ('discovering', 'fetching', 'fetched', 'failed')),
    -- MessagePack, zstd; the board too.
    discovery  bytea,
    board      bytea,
    reason     text,
    PRIMARY KEY (district, run, connection),
    FOREIGN KEY (district, run) REFERENCES run
) WITH (fillfactor = 50);
-- A board is rewritten with every page: room for it on its own page keeps such an update off the indexes.
ALTER TABLE pull ALTER COLUMN board SET STORAGE EXTERNAL;

CREATE TABLE page (
    district      text   NOT NULL,
    run           uuid   NOT NULL,
    connection    bigint NOT NULL,
    listing       bigint NOT NULL,
    page          bigint NOT NULL,
    status        bigint NOT NULL,
    -- zstd, sealed. Kept for replay, then forgotten.
    raw           bytea,
    -- As the classifier encoded them; empty when the page did not decode.
    fragments     bytea  NOT NULL,
    rows          bigint NOT NULL,
    digest        bytea  NOT NULL,
    claimed_total bigint,
    error         text,
    asked_at      timestamptz,
    took_ms       bigint NOT NULL,
    -- NULL: only the raw body is here so far, too large for a message.
    collected_at  timestamptz,
    PRIMARY KEY (district, run, connection, listing, page),
    FOREIGN KEY (district, run) REFERENCES run
);
-- Both are compressed already.
ALTER TABLE page ALTER COLUMN raw SET STORAGE EXTERNAL, ALTER COLUMN fragments SET STORAGE EXTERNAL;

CREATE TABLE baseline (
    district   text   NOT NULL REFERENCES district,
    connection bigint NOT NULL,
    -- JSON.
    baseline   text   NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (district, connection)
);

CREATE TABLE audit (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    district text NOT NULL,
    at       timestamptz NOT NULL,
    actor    text NOT NULL,
    action   text NOT NULL,
    run      uuid,
    detail   text NOT NULL
);
CREATE INDEX audit_by_district ON audit (district, id);

SELECT rollcall_tenant_table('district', 'SELECT, INSERT, UPDATE');
SELECT rollcall_tenant_table('connection');
SELECT rollcall_tenant_table('run', 'SELECT, INSERT, UPDATE');
SELECT rollcall_tenant_table('finding');
SELECT rollcall_tenant_table('pull', 'SELECT, INSERT, UPDATE');
SELECT rollcall_tenant_table('page');
SELECT rollcall_tenant_table('baseline');
-- Nobody edits the audit trail.
SELECT rollcall_tenant_table('audit', 'SELECT, INSERT');

-- Looking across districts: functions that return ids, dates and states, owned by a role that can read no more.
GRANT SELECT (district, time_zone, schedule_at, schedule_weekends, schedule_enabled, schedule_since, last_scheduled,
              removed_at) ON district TO rollcall_lookout;
GRANT SELECT (district, id, stage, as_of, created_at, touched_at, ended_at) ON run TO rollcall_lookout;
GRANT SELECT (district, run, collected_at) ON page TO rollcall_lookout;
CREATE POLICY lookout ON district FOR SELECT TO rollcall_lookout USING (true);
CREATE POLICY lookout ON run FOR SELECT TO rollcall_lookout USING (true);
CREATE POLICY lookout ON page FOR SELECT TO rollcall_lookout USING (true);

CREATE FUNCTION lookout_districts() RETURNS TABLE (district text, removed boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT district, removed_at IS NOT NULL FROM public.district ORDER BY district
$$;

CREATE FUNCTION lookout_schedules()
RETURNS TABLE (district text, time_zone text, at text, weekends boolean, last_scheduled date, since timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT district, time_zone, schedule_at, schedule_weekends, last_scheduled, schedule_since
    FROM public.district WHERE schedule_enabled AND removed_at IS NULL ORDER BY district
$$;

CREATE FUNCTION lookout_open_runs()
RETURNS TABLE (district text, run uuid, stage text, as_of date, touched_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT r.district, r.id, r.stage, r.as_of, greatest(r.touched_at, CASE WHEN r.stage IN ('pull', 'recheck') THEN
               (SELECT max(p.collected_at) FROM public.page p WHERE p.district = r.district AND p.run = r.id) END)
    FROM public.run r WHERE r.ended_at IS NULL ORDER BY r.created_at, r.id
$$;

CREATE FUNCTION lookout_run(wanted uuid) RETURNS TABLE (district text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT district FROM public.run WHERE id = wanted
$$;

CREATE FUNCTION lookout_runs(most bigint) RETURNS TABLE (district text, run uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT district, id FROM public.run ORDER BY id DESC LIMIT most
$$;

SELECT rollcall_lookout_function('lookout_districts()');
SELECT rollcall_lookout_function('lookout_schedules()');
SELECT rollcall_lookout_function('lookout_open_runs()');
SELECT rollcall_lookout_function('lookout_run(uuid)');
SELECT rollcall_lookout_function('lookout_runs(bigint)');

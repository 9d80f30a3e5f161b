-- What the SIS fails at alone: how often in a row, before when nobody tries it again, and what it came to. A flag that was tried in
-- vain while the SIS was away has the time alone, and is tried after the others.
ALTER TABLE flag ADD COLUMN failures bigint NOT NULL DEFAULT 0, ADD COLUMN retry_at timestamptz, ADD COLUMN failed_with text;
ALTER TABLE cutover_flag ADD COLUMN failures bigint NOT NULL DEFAULT 0, ADD COLUMN retry_at timestamptz;
CREATE INDEX flag_turn ON flag (district, retry_at NULLS FIRST, student_id, flag) WHERE due;
DROP INDEX flag_due;
GRANT SELECT (retry_at) ON flag TO rollcall_lookout;
GRANT SELECT (retry_at) ON cutover_flag TO rollcall_lookout;
-- Beside lookout_flag_syncs(), which workers of the version before call too, and by whose word a flag keeps somebody busy although it
-- has a turn later.
CREATE FUNCTION lookout_unfinished_flags() RETURNS TABLE (district text, at_once boolean, due_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT w.district, bool_or(w.retry_at IS NULL), min(w.retry_at) FROM (
        SELECT f.district, f.retry_at FROM public.flag f WHERE f.due
        UNION ALL
        SELECT f.district, NULL FROM public.flag f WHERE f.state = 'accepted'
        UNION ALL
        SELECT o.district, o.retry_at FROM public.cutover_flag o WHERE o.done_at IS NULL AND o.retry_at IS NOT NULL
    ) w GROUP BY w.district
$$;
SELECT rollcall_lookout_function('lookout_unfinished_flags()');

-- How often in a row the SIS failed at the student's own list of flags, and before when nobody asks it again for that.
ALTER TABLE flag_pending ADD COLUMN failures bigint NOT NULL DEFAULT 0, ADD COLUMN retry_at timestamptz;
GRANT SELECT (district, since, retry_at) ON flag_pending TO rollcall_lookout;
-- Beside lookout_flag_syncs(), which workers of the version before call too.
CREATE FUNCTION lookout_pending_flags() RETURNS TABLE (district text, due_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT p.district, min(coalesce(p.retry_at, p.since)) FROM public.flag_pending p GROUP BY p.district
$$;
SELECT rollcall_lookout_function('lookout_pending_flags()');

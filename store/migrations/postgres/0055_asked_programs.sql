-- When a person asked for the program's flags that nobody has compared since.
ALTER TABLE flag_program ADD COLUMN asked_at timestamptz;

GRANT SELECT (district, asked_at) ON flag_program TO rollcall_lookout;
CREATE POLICY lookout ON flag_program FOR SELECT TO rollcall_lookout USING (true);
-- Beside lookout_flag_syncs(), which workers of the version before call too.
CREATE FUNCTION lookout_asked_programs() RETURNS TABLE (district text, asked_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT p.district, min(p.asked_at) FROM public.flag_program p WHERE p.asked_at IS NOT NULL GROUP BY p.district
$$;
SELECT rollcall_lookout_function('lookout_asked_programs()');

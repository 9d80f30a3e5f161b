-- Take-overs whose flags have all ended, and that are not done: whoever ended the last one may have died before it could say so.
-- Beside lookout_flag_syncs(), which workers of the version before call too.
CREATE FUNCTION lookout_ended_take_overs() RETURNS TABLE (district text, take_over_on date)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT c.district, min(c.cutover) FROM public.cutover c
    WHERE c.done_at IS NULL AND NOT EXISTS (
        SELECT 1 FROM public.cutover_flag o
        WHERE o.district = c.district AND o.program = c.program AND o.done_at IS NULL)
    GROUP BY c.district
$$;
SELECT rollcall_lookout_function('lookout_ended_take_overs()');

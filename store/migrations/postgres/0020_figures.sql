-- Figures over all districts, for metrics.

GRANT SELECT (state) ON run TO rollcall_lookout;
GRANT SELECT (district, at, replayed_at) ON parked_event TO rollcall_lookout;
CREATE POLICY lookout ON parked_event FOR SELECT TO rollcall_lookout USING (true);

CREATE FUNCTION lookout_figures(counted_since timestamptz)
RETURNS TABLE (district text, scheduled boolean, weekends boolean, since timestamptz, last_success timestamptz,
               oldest_open timestamptz, oldest_held timestamptz, succeeded bigint, partial bigint, failed bigint,
               cancelled bigint, discarded bigint, parked bigint, oldest_parked timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT d.district, d.schedule_enabled, d.schedule_weekends, d.schedule_since, r.last_success, r.oldest_open,
           r.oldest_held, coalesce(r.succeeded, 0), coalesce(r.partial, 0), coalesce(r.failed, 0),
           coalesce(r.cancelled, 0), coalesce(r.discarded, 0), coalesce(p.parked, 0), p.oldest_parked
    FROM public.district d
    LEFT JOIN (
        SELECT o.district,
               max(o.ended_at) FILTER (WHERE o.state IN ('succeeded', 'partial')) AS last_success,
               min(o.created_at) FILTER (WHERE o.ended_at IS NULL AND o.stage <> 'held') AS oldest_open,
               min(o.created_at) FILTER (WHERE o.ended_at IS NULL AND o.stage = 'held') AS oldest_held,
               count(*) FILTER (WHERE o.state = 'succeeded' AND o.ended_at >= counted_since) AS succeeded,
               count(*) FILTER (WHERE o.state = 'partial' AND o.ended_at >= counted_since) AS partial,
               count(*) FILTER (WHERE o.state = 'failed' AND o.ended_at >= counted_since) AS failed,
               count(*) FILTER (WHERE o.state = 'cancelled' AND o.ended_at >= counted_since) AS cancelled,
               count(*) FILTER (WHERE o.state = 'discarded' AND o.ended_at >= counted_since) AS discarded
        FROM public.run o GROUP BY o.district) r ON r.district = d.district
    LEFT JOIN (
        SELECT e.district, count(*) AS parked, min(e.at) AS oldest_parked
        FROM public.parked_event e WHERE e.replayed_at IS NULL GROUP BY e.district) p ON p.district = d.district
    WHERE d.removed_at IS NULL
    ORDER BY d.district
$$;

SELECT rollcall_lookout_function('lookout_figures(timestamptz)');

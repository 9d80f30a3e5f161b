-- Nobody edits the audit trail or the access log, and a worker has no right to delete from them: what has been kept long
-- enough goes by this function alone, which knows its own district only and refuses the last 365 days whoever asks.
CREATE FUNCTION rollcall_forget_trail(kept_since timestamptz) RETURNS TABLE (entries bigint, views bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF kept_since > now() - interval '365 days' THEN
        RAISE EXCEPTION 'the trail of the last 365 days is not deleted' USING ERRCODE = 'insufficient_privilege';
    END IF;
    WITH gone AS (DELETE FROM public.audit a
                  WHERE a.district = current_setting('rollcall.district', true) AND a.at < kept_since RETURNING 1)
    SELECT count(*) INTO entries FROM gone;
    WITH gone AS (DELETE FROM public.document_view v
                  WHERE v.district = current_setting('rollcall.district', true) AND v.at < kept_since RETURNING 1)
    SELECT count(*) INTO views FROM gone;
    RETURN NEXT;
END $$;
REVOKE ALL ON FUNCTION rollcall_forget_trail(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION rollcall_forget_trail(timestamptz) TO rollcall_app;

CREATE INDEX audit_by_age ON audit (district, at);
CREATE INDEX document_view_by_age ON document_view (district, at);

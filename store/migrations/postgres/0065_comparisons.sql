-- A comparison of a district's flags that is not finished, so that another message and another process go on with it: how far it is,
-- and what Campus has shown so far, each as MessagePack, zstd. Gone when it is over.
CREATE TABLE flag_comparison (
    district text  PRIMARY KEY REFERENCES district,
    progress bytea NOT NULL,
    shown    bytea NOT NULL
);
SELECT rollcall_tenant_table('flag_comparison');
GRANT SELECT (district) ON flag_comparison TO rollcall_lookout;
CREATE POLICY lookout ON flag_comparison FOR SELECT TO rollcall_lookout USING (true);
-- Beside lookout_flag_syncs(), which workers of the version before call too.
CREATE FUNCTION lookout_comparisons() RETURNS TABLE (district text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT c.district FROM public.flag_comparison c
$$;
SELECT rollcall_lookout_function('lookout_comparisons()');

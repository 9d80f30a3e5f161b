-- Of which connection's ids a platform's launches speak, where only one can be meant: the district's only one, or, where launches name
-- flags, the one that flags go through (the first OneRoster one with a vendor key). The owner looks past row-level security for
-- this one statement.
ALTER TABLE lti_registration NO FORCE ROW LEVEL SECURITY;
ALTER TABLE district NO FORCE ROW LEVEL SECURITY;
UPDATE lti_registration r
SET details = (r.details::jsonb || jsonb_build_object('connection', s.source))::text
FROM (
    SELECT d.district, jsonb_array_length(d.config::jsonb -> 'connection') AS connections, (
        SELECT min(c.number) - 1
        FROM jsonb_array_elements(d.config::jsonb -> 'connection') WITH ORDINALITY AS c (connection, number)
        WHERE jsonb_array_length(d.config::jsonb -> 'connection') = 1
           OR c.connection ->> 'kind' = 'oneroster' AND c.connection ->> 'vendor_key' IS NOT NULL
    ) AS source
    FROM district d
) s
WHERE s.district = r.district AND s.source IS NOT NULL AND r.details::jsonb -> 'connection' IS NULL
  AND (s.connections = 1 OR 'flag' IN (r.details::jsonb ->> 'student', r.details::jsonb ->> 'program'));
ALTER TABLE district FORCE ROW LEVEL SECURITY;
ALTER TABLE lti_registration FORCE ROW LEVEL SECURITY;

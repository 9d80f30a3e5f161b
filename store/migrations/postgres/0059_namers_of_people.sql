-- Who gives a person the id that something was said of: `connection N` (the SIS behind it), `sub REGISTRATION` or `email REGISTRATION`
-- (a platform, by its own), and nothing where several could be meant: such a word only takes away. Programs before write none.
ALTER TABLE lti_user
    ADD COLUMN platform text COLLATE "C" NOT NULL DEFAULT '',
    DROP CONSTRAINT lti_user_pkey,
    ADD PRIMARY KEY (district, platform, user_id);

-- What was said before is of the district's platform, where it has one, or all of them name people alike. An id that another
-- connection's people may have is nobody's. The owner looks past row-level security for this one statement.
ALTER TABLE lti_user NO FORCE ROW LEVEL SECURITY;
ALTER TABLE lti_registration NO FORCE ROW LEVEL SECURITY;
ALTER TABLE district NO FORCE ROW LEVEL SECURITY;
WITH registered AS (
    SELECT district, details::jsonb ->> 'user' AS place, replace(registration::text, '-', '') AS registration,
           (details::jsonb ->> 'connection')::bigint AS source
    FROM lti_registration
), named AS (
    SELECT *, CASE WHEN place IN ('sub', 'email') THEN place || ' ' || registration ELSE 'connection ' || source END AS namer
    FROM registered
), only_one AS (
    SELECT district, min(place) AS place, min(source) AS source, min(namer) AS namer
    FROM named GROUP BY district HAVING count(DISTINCT namer) = 1 AND count(namer) = count(*)
), prefixes AS (
    SELECT d.district, c.number - 1 AS number, lower(coalesce(c.connection ->> 'id_prefix', '')) AS prefix
    FROM district d, jsonb_array_elements(d.config::jsonb -> 'connection') WITH ORDINALITY AS c (connection, number)
), said AS (
    SELECT u.district, u.user_id, o.source, o.namer,
           o.place = 'sub' OR (o.place = 'email' AND strpos(u.user_id, '@') > 0) AS of_platform,
           coalesce((SELECT p.prefix FROM prefixes p WHERE p.district = o.district AND p.number = o.source), '') AS own
    FROM lti_user u JOIN only_one o ON o.district = u.district
), judged AS (
    SELECT s.*, own <> '' AND starts_with(lower(user_id), own) AS has_own FROM said s
)
UPDATE lti_user u
SET platform = CASE WHEN j.of_platform THEN j.namer ELSE 'connection ' || j.source END
FROM judged j
WHERE j.district = u.district AND j.user_id = u.user_id
  AND (j.of_platform OR (j.source IS NOT NULL
    AND NOT EXISTS (
        SELECT 1 FROM prefixes p
        WHERE p.district = j.district AND p.number <> j.source AND p.prefix <> '' AND starts_with(lower(j.user_id), p.prefix)
          AND length(p.prefix) > CASE WHEN j.has_own THEN length(j.own) ELSE 0 END
    )
    AND (j.has_own OR NOT EXISTS (
        SELECT 1 FROM prefixes p WHERE p.district = j.district AND p.number <> j.source AND p.prefix = ''
    ))));
ALTER TABLE district FORCE ROW LEVEL SECURITY;
ALTER TABLE lti_registration FORCE ROW LEVEL SECURITY;
ALTER TABLE lti_user FORCE ROW LEVEL SECURITY;

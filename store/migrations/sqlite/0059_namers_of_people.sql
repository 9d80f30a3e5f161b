-- See the PostgreSQL migration of the same number. SQLite keeps a table's key: the rows move to another table.
CREATE TABLE lti_user_named (
    district text NOT NULL REFERENCES district,
    platform text NOT NULL DEFAULT '',
    user_id text NOT NULL,
    access text NOT NULL,
    created_at text NOT NULL,
    created_by text NOT NULL,
    PRIMARY KEY (district, platform, user_id)
) STRICT, WITHOUT ROWID;
WITH registered AS (
    SELECT district, details ->> '$.user' AS place, lower(hex(registration)) AS registration,
           details ->> '$.connection' AS source
    FROM lti_registration
), named AS (
    SELECT *, CASE WHEN place IN ('sub', 'email') THEN place || ' ' || registration ELSE 'connection ' || source END AS namer
    FROM registered
), only_one AS (
    SELECT district, min(place) AS place, min(source) AS source, min(namer) AS namer
    FROM named GROUP BY district HAVING count(DISTINCT namer) = 1 AND count(namer) = count(*)
), prefixes AS (
    SELECT d.district, c.key AS number, lower(coalesce(c.value ->> '$.id_prefix', '')) AS prefix
    FROM district d, json_each(d.config, '$.connection') c
), said AS (
    SELECT u.*, o.source, o.namer,
           o.place = 'sub' OR (o.place = 'email' AND instr(u.user_id, '@') > 0) AS of_platform,
           coalesce((SELECT p.prefix FROM prefixes p WHERE p.district = o.district AND p.number = o.source), '') AS own
    FROM lti_user u LEFT JOIN only_one o ON o.district = u.district
), judged AS (
    SELECT s.*, own <> '' AND substr(lower(user_id), 1, length(own)) = own AS has_own FROM said s
)
INSERT INTO lti_user_named (district, platform, user_id, access, created_at, created_by)
SELECT j.district,
    CASE
        WHEN j.of_platform THEN j.namer
        WHEN j.source IS NOT NULL
            AND NOT EXISTS (
                SELECT 1 FROM prefixes p
                WHERE p.district = j.district AND p.number <> j.source AND p.prefix <> ''
                  AND substr(lower(j.user_id), 1, length(p.prefix)) = p.prefix
                  AND length(p.prefix) > CASE WHEN j.has_own THEN length(j.own) ELSE 0 END
            )
            AND (j.has_own OR NOT EXISTS (
        SELECT 1 FROM prefixes p WHERE p.district = j.district AND p.number <> j.source AND p.prefix = ''
    ))
            THEN 'connection ' || j.source
        ELSE ''
    END,
    j.user_id, j.access, j.created_at, j.created_by
FROM judged j;
DROP TABLE lti_user;
ALTER TABLE lti_user_named RENAME TO lti_user;

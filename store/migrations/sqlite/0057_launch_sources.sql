-- See the PostgreSQL migration of the same number.
UPDATE lti_registration
SET details = json_set(details, '$.connection', s.source)
FROM (
    SELECT d.district, json_array_length(d.config, '$.connection') AS connections, (
        SELECT min(c.key) FROM json_each(d.config, '$.connection') c
        WHERE json_array_length(d.config, '$.connection') = 1
           OR c.value ->> '$.kind' = 'oneroster' AND c.value ->> '$.vendor_key' IS NOT NULL
    ) AS source
    FROM district d
) s
WHERE s.district = lti_registration.district AND s.source IS NOT NULL
  AND json_extract(details, '$.connection') IS NULL
  AND (s.connections = 1 OR 'flag' IN (json_extract(details, '$.student'), json_extract(details, '$.program')));

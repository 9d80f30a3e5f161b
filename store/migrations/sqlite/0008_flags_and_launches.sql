-- See the PostgreSQL migration of the same number for what each of these is for.

ALTER TABLE flag ADD COLUMN refused text;
ALTER TABLE cutover ADD COLUMN plan_hash text;
ALTER TABLE document_request ADD COLUMN answer text;
ALTER TABLE integration ADD COLUMN scopes text NOT NULL DEFAULT 'documents';
ALTER TABLE integration_token ADD COLUMN scopes text NOT NULL DEFAULT 'documents';
ALTER TABLE staff ADD COLUMN left_at text;

CREATE TABLE lti_deployment (
    issuer text NOT NULL,
    client_id text NOT NULL,
    deployment text NOT NULL,
    district text NOT NULL,
    registration blob NOT NULL,
    PRIMARY KEY (issuer, client_id, deployment),
    FOREIGN KEY (district, registration) REFERENCES lti_registration ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
INSERT INTO lti_deployment (issuer, client_id, deployment, district, registration)
SELECT r.issuer, r.client_id, d.value, r.district, r.registration
FROM lti_registration r, json_each(r.details, '$.deployments') d
WHERE true ORDER BY r.created_at, r.registration
ON CONFLICT DO NOTHING;

-- What Campus refuses for good, plans of take-overs that were looked at, first answers to idempotency keys, scopes of
-- integrations, deployments that belong to one district, and staff who left.

-- JSON: the status, and what was refused with it. The same is not sent again.
ALTER TABLE flag ADD COLUMN refused text;

-- Digest of the plan that a person approved.
ALTER TABLE cutover ADD COLUMN plan_hash text;

-- JSON: the first answer. NULL: the request is older than this column.
ALTER TABLE document_request ADD COLUMN answer text;

-- OAuth scopes, separated by blanks.
ALTER TABLE integration ADD COLUMN scopes text NOT NULL DEFAULT 'documents';
ALTER TABLE integration_token ADD COLUMN scopes text NOT NULL DEFAULT 'documents';

-- When a whole listing of the staff did not name the person any more.
ALTER TABLE staff ADD COLUMN left_at timestamptz;

-- A deployment belongs to one district, whoever sees its row: the key is over all of them.
CREATE TABLE lti_deployment (
    issuer       text COLLATE "C" NOT NULL,
    client_id    text COLLATE "C" NOT NULL,
    deployment   text COLLATE "C" NOT NULL,
    district     text NOT NULL,
    registration uuid NOT NULL,
    PRIMARY KEY (issuer, client_id, deployment),
    FOREIGN KEY (district, registration) REFERENCES lti_registration ON DELETE CASCADE
);
-- Of two districts that were registered with the same one, the earlier keeps it. The owner looks past row-level security
-- for this one statement.
ALTER TABLE lti_registration NO FORCE ROW LEVEL SECURITY;
INSERT INTO lti_deployment (issuer, client_id, deployment, district, registration)
SELECT r.issuer, r.client_id, d.deployment, r.district, r.registration
FROM lti_registration r CROSS JOIN LATERAL jsonb_array_elements_text(r.details::jsonb -> 'deployments') AS d (deployment)
ORDER BY r.created_at, r.registration
ON CONFLICT DO NOTHING;
ALTER TABLE lti_registration FORCE ROW LEVEL SECURITY;
SELECT rollcall_tenant_table('lti_deployment');

-- Whose a deployment is: for the message of a registration that is refused.
GRANT SELECT (issuer, client_id, deployment, district, registration) ON lti_deployment TO rollcall_lookout;
CREATE POLICY lookout ON lti_deployment FOR SELECT TO rollcall_lookout USING (true);
CREATE FUNCTION lookout_lti_deployment(wanted_issuer text, wanted_client text, wanted_deployment text)
RETURNS TABLE (district text, registration uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT d.district, d.registration FROM public.lti_deployment d
    WHERE d.issuer = wanted_issuer AND d.client_id = wanted_client AND d.deployment = wanted_deployment
$$;
SELECT rollcall_lookout_function('lookout_lti_deployment(text, text, text)');

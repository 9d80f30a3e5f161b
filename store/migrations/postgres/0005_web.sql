-- The HTTP side: LTI registrations, launches and keys; who may see which student's documents, and who did; integrations
-- of the JSON API with their tokens.
--
-- Whatever a browser or an integration holds (state, ticket, token) lies here as a digest only, and names its district
-- itself, so that its row is found under that district's row-level security.

-- A platform that may launch the tool for a district. Deployments beyond the first of the same client stand beside it.
CREATE TABLE lti_registration (
    district     text        NOT NULL REFERENCES district,
    registration uuid        NOT NULL,
    issuer       text        NOT NULL,
    client_id    text        NOT NULL,
    -- JSON: the deployment ids, where student, program and user are found, what staff may see.
    details      text        NOT NULL,
    auth_url     text        NOT NULL,
    jwks_url     text        NOT NULL,
    created_at   timestamptz NOT NULL,
    created_by   text        NOT NULL,
    PRIMARY KEY (district, registration),
    UNIQUE (district, issuer, client_id)
);

-- A login under way: one row for each, good once.
CREATE TABLE lti_login (
    district      text        NOT NULL REFERENCES district,
    state_digest  bytea       NOT NULL,
    registration  uuid        NOT NULL,
    nonce         text        NOT NULL,
    -- Digest of the value in the browser's cookie.
    browser_digest bytea      NOT NULL,
    -- JSON: what the platform sent, so that the login can start again in a tab of its own.
    request       text        NOT NULL,
    created_at    timestamptz NOT NULL,
    expires_at    timestamptz NOT NULL,
    used_at       timestamptz,
    PRIMARY KEY (district, state_digest)
);
CREATE INDEX lti_login_expiry ON lti_login (district, expires_at);

-- The right to fetch one document once, soon.
CREATE TABLE lti_ticket (
    district      text        NOT NULL REFERENCES district,
    ticket_digest bytea       NOT NULL,
    registration  uuid        NOT NULL,
    document_id   text        COLLATE "C" NOT NULL,
    expires_at    timestamptz NOT NULL,
    PRIMARY KEY (district, ticket_digest)
);
CREATE INDEX lti_ticket_expiry ON lti_ticket (district, expires_at);

-- The tool's own keys.
CREATE TABLE lti_key (
    district    text        NOT NULL REFERENCES district,
    kid         text        NOT NULL,
    -- PKCS #8, sealed.
    private_key bytea       NOT NULL,
    -- JSON: the public part as published (RFC 7517).
    public_key  text        NOT NULL,
    created_at  timestamptz NOT NULL,
    -- Signs from here on; published before, so that platforms know it by then.
    signs_from  timestamptz NOT NULL,
    -- Published until here.
    retires_at  timestamptz,
    PRIMARY KEY (district, kid)
);

-- Whom an administrator gave, or denied, sight of documents.
CREATE TABLE lti_user (
    district   text        NOT NULL REFERENCES district,
    user_id    text        COLLATE "C" NOT NULL,
    -- JSON: everything, schools, students or nothing; which programs.
    access     text        NOT NULL,
    created_at timestamptz NOT NULL,
    created_by text        NOT NULL,
    PRIMARY KEY (district, user_id)
);

-- Who looked at which student's document, or was refused.
CREATE TABLE document_view (
    district    text        NOT NULL,
    id          bigint      GENERATED ALWAYS AS IDENTITY,
    at          timestamptz NOT NULL,
    student_id  text        COLLATE "C" NOT NULL,
    program     text        NOT NULL,
    -- NULL: none was shown.
    document_id text        COLLATE "C",
    user_id     text        NOT NULL,
    issuer      text        NOT NULL,
    outcome     text        NOT NULL CHECK (outcome IN ('shown', 'no-document', 'refused')),
    PRIMARY KEY (district, id)
);
CREATE INDEX document_view_by_student ON document_view (district, student_id, id);

-- A program that speaks to the JSON API.
CREATE TABLE integration (
    district    text        NOT NULL REFERENCES district,
    integration text        NOT NULL,
    name        text        NOT NULL,
    -- Argon2id, PHC string.
    secret_hash text        NOT NULL,
    created_at  timestamptz NOT NULL,
    created_by  text        NOT NULL,
    PRIMARY KEY (district, integration)
);

CREATE TABLE integration_token (
    district     text        NOT NULL,
    token_digest bytea       NOT NULL,
    integration  text        NOT NULL,
    expires_at   timestamptz NOT NULL,
    PRIMARY KEY (district, token_digest),
    FOREIGN KEY (district, integration) REFERENCES integration ON DELETE CASCADE
);
CREATE INDEX integration_token_expiry ON integration_token (district, expires_at);

SELECT rollcall_tenant_table('lti_registration');
SELECT rollcall_tenant_table('lti_login');
SELECT rollcall_tenant_table('lti_ticket');
SELECT rollcall_tenant_table('lti_key');
SELECT rollcall_tenant_table('lti_user');
-- Nobody edits the access log.
SELECT rollcall_tenant_table('document_view', 'SELECT, INSERT');
SELECT rollcall_tenant_table('integration');
SELECT rollcall_tenant_table('integration_token');

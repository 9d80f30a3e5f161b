-- The HTTP side; see the PostgreSQL migration of the same number for what each table is for.

CREATE TABLE lti_registration (
    district text NOT NULL REFERENCES district,
    registration blob NOT NULL,
    issuer text NOT NULL,
    client_id text NOT NULL,
    details text NOT NULL,
    auth_url text NOT NULL,
    jwks_url text NOT NULL,
    created_at text NOT NULL,
    created_by text NOT NULL,
    PRIMARY KEY (district, registration),
    UNIQUE (district, issuer, client_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE lti_login (
    district text NOT NULL REFERENCES district,
    state_digest blob NOT NULL,
    registration blob NOT NULL,
    nonce text NOT NULL,
    browser_digest blob NOT NULL,
    request text NOT NULL,
    created_at text NOT NULL,
    expires_at text NOT NULL,
    used_at text,
    PRIMARY KEY (district, state_digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX lti_login_expiry ON lti_login (district, expires_at);

CREATE TABLE lti_ticket (
    district text NOT NULL REFERENCES district,
    ticket_digest blob NOT NULL,
    registration blob NOT NULL,
    document_id text NOT NULL,
    expires_at text NOT NULL,
    PRIMARY KEY (district, ticket_digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX lti_ticket_expiry ON lti_ticket (district, expires_at);

CREATE TABLE lti_key (
    district text NOT NULL REFERENCES district,
    kid text NOT NULL,
    private_key blob NOT NULL,
    public_key text NOT NULL,
    created_at text NOT NULL,
    signs_from text NOT NULL,
    retires_at text,
    PRIMARY KEY (district, kid)
) STRICT, WITHOUT ROWID;

CREATE TABLE lti_user (
    district text NOT NULL REFERENCES district,
    user_id text NOT NULL,
    access text NOT NULL,
    created_at text NOT NULL,
    created_by text NOT NULL,
    PRIMARY KEY (district, user_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE document_view (
    id integer PRIMARY KEY AUTOINCREMENT,
    district text NOT NULL,
    at text NOT NULL,
    student_id text NOT NULL,
    program text NOT NULL,
    document_id text,
    user_id text NOT NULL,
    issuer text NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('shown', 'no-document', 'refused'))
) STRICT;
CREATE INDEX document_view_by_student ON document_view (district, student_id, id);
-- Nobody edits the access log.
CREATE TRIGGER document_view_is_not_edited BEFORE UPDATE ON document_view
BEGIN SELECT RAISE(ABORT, 'the access log is not edited'); END;
CREATE TRIGGER document_view_is_not_deleted BEFORE DELETE ON document_view
BEGIN SELECT RAISE(ABORT, 'the access log is not deleted'); END;

CREATE TABLE integration (
    district text NOT NULL REFERENCES district,
    integration text NOT NULL,
    name text NOT NULL,
    secret_hash text NOT NULL,
    created_at text NOT NULL,
    created_by text NOT NULL,
    PRIMARY KEY (district, integration)
) STRICT, WITHOUT ROWID;

CREATE TABLE integration_token (
    district text NOT NULL,
    token_digest blob NOT NULL,
    integration text NOT NULL,
    expires_at text NOT NULL,
    PRIMARY KEY (district, token_digest),
    FOREIGN KEY (district, integration) REFERENCES integration ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX integration_token_expiry ON integration_token (district, expires_at);

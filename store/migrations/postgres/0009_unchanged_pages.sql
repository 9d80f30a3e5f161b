-- Pages that come back as an earlier run got them: their content is stored once.

-- Keyed digest of the body. NULL: the page did not decode, or was asked for by id.
ALTER TABLE page ADD COLUMN body_digest bytea;
-- The run under whose page of the same place the raw body and the fragments lie. NULL: under this one.
ALTER TABLE page ADD COLUMN same_as uuid;
-- What a younger page stands on cannot be deleted.
ALTER TABLE page ADD CONSTRAINT page_same_as FOREIGN KEY (district, same_as, connection, listing, page)
    REFERENCES page (district, run, connection, listing, page);
CREATE INDEX page_by_content ON page (district, same_as, connection, listing, page) WHERE same_as IS NOT NULL;

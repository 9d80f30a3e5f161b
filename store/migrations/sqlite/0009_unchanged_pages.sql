-- Pages that come back as an earlier run got them: their content is stored once.
--
-- A new table, so that the raw body stays the last column.

CREATE TABLE page_with_content (
    district text NOT NULL,
    run blob NOT NULL,
    connection integer NOT NULL,
    listing integer NOT NULL,
    page integer NOT NULL,
    status integer NOT NULL,
    rows integer NOT NULL,
    digest blob NOT NULL,
    claimed_total integer,
    error text,
    asked_at text,
    took_ms integer NOT NULL,
    -- NULL: only the raw body is here so far, too large for a message; or the page is kept for a younger one alone.
    collected_at text,
    -- Keyed digest of the body. NULL: the page did not decode, or was asked for by id.
    body_digest blob,
    -- The run under whose page of the same place the raw body and the fragments lie. NULL: under this one.
    same_as blob,
    -- As the classifier encoded them; empty when the page did not decode, or lies under another.
    fragments blob NOT NULL,
    -- zstd, sealed. Kept for replay, then forgotten. Last, so that reading the columns before it never walks its
    -- overflow pages.
    raw blob,
    PRIMARY KEY (district, run, connection, listing, page),
    FOREIGN KEY (district, run) REFERENCES run (district, id),
    -- What a younger page stands on cannot be deleted.
    FOREIGN KEY (district, same_as, connection, listing, page) REFERENCES page (district, run, connection, listing, page)
) STRICT;

INSERT INTO page_with_content (district, run, connection, listing, page, status, rows, digest, claimed_total, error,
                               asked_at, took_ms, collected_at, fragments, raw)
SELECT district, run, connection, listing, page, status, rows, digest, claimed_total, error, asked_at, took_ms,
       collected_at, fragments, raw FROM page;
DROP TABLE page;
ALTER TABLE page_with_content RENAME TO page;
CREATE INDEX page_by_content ON page (district, same_as, connection, listing, page) WHERE same_as IS NOT NULL;

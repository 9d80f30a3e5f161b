-- What a page told of its listing, as the fetcher read it (MessagePack): who gets it unchanged need not read it again.
-- NULL: it is read anew.
ALTER TABLE page ADD COLUMN told blob;

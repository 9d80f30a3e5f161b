-- What an unfinished discovery has learned so far, so that another message and another process go on with it: MessagePack, zstd. What
-- is granted, names of years and entities, and digests; no fact about a student.
ALTER TABLE pull ADD COLUMN learned bytea;

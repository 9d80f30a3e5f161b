-- A connection's lanes are one run's at a time. Since when a discovery asks its SIS: the lanes of one that has not begun are still
-- anybody's (NULL also where a program of the version before discovers, which waits for nobody). Since when one was sent away, as
-- another run had the lanes: it is asked for again when they are free.
ALTER TABLE pull ADD COLUMN asks_since text;
ALTER TABLE pull ADD COLUMN waits_since text;

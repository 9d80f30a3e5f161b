-- Since when a discovery asks its SIS: a connection's lanes are one run's at a time, and those of a discovery that has not begun are
-- still anybody's. NULL also where a program of the version before discovers, which waits for nobody.
ALTER TABLE pull ADD COLUMN asks_since timestamptz;

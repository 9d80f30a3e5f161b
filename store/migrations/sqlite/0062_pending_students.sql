-- How often in a row the SIS failed at the student's own list of flags, and before when nobody asks it again for that.
ALTER TABLE flag_pending ADD COLUMN failures integer NOT NULL DEFAULT 0;
ALTER TABLE flag_pending ADD COLUMN retry_at text;

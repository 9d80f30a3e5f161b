-- What the SIS fails at alone: how often in a row, before when nobody tries it again, and what it came to. A flag that was tried in
-- vain while the SIS was away has the time alone, and is tried after the others.
ALTER TABLE flag ADD COLUMN failures integer NOT NULL DEFAULT 0;
ALTER TABLE flag ADD COLUMN retry_at text;
ALTER TABLE flag ADD COLUMN failed_with text;
ALTER TABLE cutover_flag ADD COLUMN failures integer NOT NULL DEFAULT 0;
ALTER TABLE cutover_flag ADD COLUMN retry_at text;
CREATE INDEX flag_turn ON flag (district, retry_at, student_id, flag) WHERE due;
DROP INDEX flag_due;

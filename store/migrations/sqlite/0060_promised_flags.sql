-- Whose student was to get a new flag, as the take-over was approved. Of approvals before this nothing is known.
ALTER TABLE cutover_flag ADD COLUMN goes_on integer NOT NULL DEFAULT 0;

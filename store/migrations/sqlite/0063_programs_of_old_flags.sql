-- The SIS's id of the program that a flag to end was of, as the take-over was approved: the program may get another name, or
-- another may get its name. Of approvals before this it is not known.
ALTER TABLE cutover_flag ADD COLUMN program_sis_id text;

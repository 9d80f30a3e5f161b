-- Where a click on a flag leads, as the SIS accepted it last. NULL: it has no link, or was pushed before this column.
ALTER TABLE flag ADD COLUMN pushed_link text;

-- Digest of the plan of its take-over that a person was shown last.
ALTER TABLE flag_program ADD COLUMN shown_plan text;

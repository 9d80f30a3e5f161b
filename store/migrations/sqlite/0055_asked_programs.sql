-- When a person asked for the program's flags that nobody has compared since.
ALTER TABLE flag_program ADD COLUMN asked_at text;

-- Which connection lists the person: another one may have the same ids of entities. NULL: stored before this was noted.
ALTER TABLE staff ADD COLUMN connection bigint;

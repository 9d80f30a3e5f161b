-- Which request, or which change of documents, a row stands for: settled is the one that was seen, by its mark and not by the
-- clocks of those who wrote it. No mark: of a version before.
ALTER TABLE flag_pending ADD COLUMN mark blob;
ALTER TABLE flag_program ADD COLUMN asked_mark blob;
-- The last time that a whole sync was asked for, by a person or by another file of the district.
ALTER TABLE flag_sync ADD COLUMN ask_mark blob;

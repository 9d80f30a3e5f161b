-- Replays of runs, and students found by the ids that people know.

-- The run whose pages this one was planned from, in place of a pull of its own.
ALTER TABLE run ADD COLUMN replay_of blob;

-- For `rollcall students show`: nobody knows a student by the SIS's own id.
CREATE INDEX student_by_local_id ON student (district, local_id) WHERE local_id IS NOT NULL;
CREATE INDEX student_by_state_id ON student (district, state_id) WHERE state_id IS NOT NULL;

-- How often somebody has begun to plan the run and neither saved a plan nor given it back: refused, panicked, or dead.
ALTER TABLE run ADD COLUMN plan_attempts integer NOT NULL DEFAULT 0;

-- Asked for by a person: the run pulls everything, whatever its connections could build upon.
ALTER TABLE run ADD COLUMN everything boolean NOT NULL DEFAULT false;

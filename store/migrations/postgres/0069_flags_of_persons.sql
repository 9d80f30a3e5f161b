-- Whose a flag is by the SIS's id: a person may be several students.
CREATE INDEX flag_person ON flag (district, sis_id);
CREATE INDEX flag_pushed_person ON flag (district, pushed_sis_id);

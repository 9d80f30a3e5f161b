-- Which version of the document a ticket is for: a minute later it may be withdrawn, or another. Of a ticket of a program before
-- this it is not known.
ALTER TABLE lti_ticket ADD COLUMN version integer;

-- What has been kept long enough may go, and nothing of the last 365 days.
DROP TRIGGER audit_is_not_deleted;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
WHEN OLD.at >= strftime('%Y-%m-%dT%H:%M:%S+00:00', 'now', '-365 days')
BEGIN SELECT RAISE(ABORT, 'the audit trail of the last 365 days is not deleted'); END;
DROP TRIGGER document_view_is_not_deleted;
CREATE TRIGGER document_view_is_not_deleted BEFORE DELETE ON document_view
WHEN OLD.at >= strftime('%Y-%m-%dT%H:%M:%S+00:00', 'now', '-365 days')
BEGIN SELECT RAISE(ABORT, 'the access log of the last 365 days is not deleted'); END;

CREATE INDEX audit_by_age ON audit (district, at);
CREATE INDEX document_view_by_age ON document_view (district, at);

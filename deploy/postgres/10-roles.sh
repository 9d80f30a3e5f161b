#!/usr/bin/env bash
# Run by the official image when its data directory is new.
set -euo pipefail
psql -X -q -U "$POSTGRES_USER" -d postgres \
    -v owner_password="$(cat /run/secrets/password-database-rollcall_owner)" \
    -v worker_password="$(cat /run/secrets/password-database-rollcall_worker)" \
    -f /opt/rollcall/roles.sql

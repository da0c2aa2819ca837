-- The bytes live in object storage; a row says where and what.
CREATE TABLE attachments (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    issue_id     bigint NOT NULL REFERENCES issues (id) ON DELETE CASCADE,
    uploader_id  bigint REFERENCES members (id) ON DELETE SET NULL,
    file_name    text NOT NULL,
    content_type text NOT NULL DEFAULT 'application/octet-stream',
    size_bytes   bigint NOT NULL CHECK (size_bytes >= 0),
    sha256       bytea NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX attachments_issue_id_idx ON attachments (issue_id);
CREATE INDEX attachments_uploader_id_idx ON attachments (uploader_id);
CREATE INDEX attachments_sha256_idx ON attachments (sha256);

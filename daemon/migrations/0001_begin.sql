-- Only TEXT and BIGINT, so that the same file and the same statements serve SQLite and PostgreSQL.
-- Times are UTC seconds. Nothing is ever deleted but cursors and counters: history is kept.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
);
CREATE TABLE events (
    seq        BIGINT PRIMARY KEY NOT NULL,
    at         BIGINT NOT NULL,
    code       TEXT NOT NULL,
    activation TEXT,
    line       TEXT NOT NULL
);
CREATE INDEX events_of_activation ON events (activation);
CREATE TABLE cursors (
    sink TEXT PRIMARY KEY NOT NULL,
    next BIGINT NOT NULL
);
CREATE TABLE host_tokens (
    hash        TEXT PRIMARY KEY NOT NULL,
    name        TEXT NOT NULL,
    labels      TEXT NOT NULL,
    valid_until BIGINT NOT NULL,
    used_at     BIGINT
);
CREATE TABLE hosts (
    id               TEXT PRIMARY KEY NOT NULL,
    name             TEXT NOT NULL,
    labels           TEXT NOT NULL,
    link_fingerprint TEXT NOT NULL,
    link_key         TEXT NOT NULL,
    vouch_key        TEXT NOT NULL,
    enrolled_at      BIGINT NOT NULL,
    epoch            BIGINT NOT NULL,
    issued           BIGINT NOT NULL,
    reported         BIGINT NOT NULL,
    seen_at          BIGINT,
    sudo             TEXT,
    retired_at       BIGINT
);
CREATE UNIQUE INDEX hosts_by_name ON hosts (name) WHERE retired_at IS NULL;
CREATE UNIQUE INDEX hosts_by_link_key ON hosts (link_fingerprint) WHERE retired_at IS NULL;
CREATE TABLE accounts (
    host  TEXT NOT NULL REFERENCES hosts (id),
    login TEXT NOT NULL,
    uid   BIGINT NOT NULL,
    PRIMARY KEY (host, login)
);
CREATE TABLE factors (
    person    TEXT PRIMARY KEY NOT NULL,
    sealed    TEXT NOT NULL,
    since     BIGINT NOT NULL,
    last_step BIGINT NOT NULL,
    used_at   BIGINT
);
CREATE TABLE failures (
    person       TEXT NOT NULL,
    door         TEXT NOT NULL,
    count        BIGINT NOT NULL,
    next_at      BIGINT NOT NULL,
    locked_until BIGINT NOT NULL,
    PRIMARY KEY (person, door)
);
CREATE TABLE invitations (
    hash        TEXT PRIMARY KEY NOT NULL,
    person      TEXT NOT NULL,
    valid_until BIGINT NOT NULL,
    tries       BIGINT NOT NULL,
    used_at     BIGINT
);
CREATE INDEX invitations_of_person ON invitations (person);
CREATE TABLE activations (
    id       TEXT PRIMARY KEY NOT NULL,
    person   TEXT NOT NULL,
    role     TEXT NOT NULL,
    phase    TEXT NOT NULL,
    deadline BIGINT,
    asked_at BIGINT NOT NULL,
    body     TEXT NOT NULL
);
CREATE INDEX activations_by_deadline ON activations (phase, deadline);
CREATE INDEX activations_of_person ON activations (person, asked_at);
CREATE TABLE activation_hosts (
    activation TEXT NOT NULL REFERENCES activations (id),
    host       TEXT NOT NULL REFERENCES hosts (id),
    position   BIGINT NOT NULL,
    uid        BIGINT NOT NULL,
    PRIMARY KEY (activation, host)
);
CREATE INDEX activation_hosts_of_host ON activation_hosts (host);
CREATE TABLE approvals (
    activation     TEXT NOT NULL REFERENCES activations (id),
    person         TEXT NOT NULL,
    at             BIGINT NOT NULL,
    request_digest TEXT NOT NULL,
    role_digest    TEXT NOT NULL,
    reason         TEXT,
    PRIMARY KEY (activation, person)
);
CREATE TABLE grant_keys (
    number BIGINT PRIMARY KEY NOT NULL,
    public TEXT UNIQUE NOT NULL,
    place  TEXT NOT NULL,
    since  BIGINT NOT NULL,
    until  BIGINT
);
CREATE TABLE documents (
    host       TEXT NOT NULL REFERENCES hosts (id),
    epoch      BIGINT NOT NULL,
    seq        BIGINT NOT NULL,
    activation TEXT REFERENCES activations (id),
    body       TEXT NOT NULL,
    signer     BIGINT NOT NULL REFERENCES grant_keys (number),
    signature  TEXT,
    issued_at  BIGINT NOT NULL,
    acked_at   BIGINT,
    refused    TEXT,
    PRIMARY KEY (host, epoch, seq)
);
CREATE INDEX documents_of_activation ON documents (activation);
CREATE INDEX documents_unacknowledged ON documents (host, acked_at);
CREATE INDEX documents_unsigned ON documents (signer) WHERE signature IS NULL;

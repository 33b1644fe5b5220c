-- The board. Ids are never reused (AUTOINCREMENT), because agents write labels such as T7 down.

CREATE TABLE run (
    id TEXT PRIMARY KEY, goal TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL,
    policy TEXT NOT NULL, commands TEXT NOT NULL, repo TEXT NOT NULL, base TEXT NOT NULL,
    head TEXT NOT NULL, version INTEGER NOT NULL, rounds INTEGER NOT NULL, tasks_count INTEGER NOT NULL,
    last_finisher TEXT NOT NULL, opened_at REAL NOT NULL, opened_by TEXT NOT NULL, ended_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX run_state ON run (state, opened_at, id);
CREATE INDEX run_opened ON run (opened_at, id);

CREATE TABLE agent (
    id INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL REFERENCES run, name TEXT NOT NULL,
    principal TEXT NOT NULL, tags TEXT NOT NULL, joined_at REAL NOT NULL, seen_at REAL NOT NULL,
    acked INTEGER NOT NULL, told INTEGER NOT NULL,
    UNIQUE (run, name)
);
CREATE INDEX agent_run ON agent (run);
CREATE INDEX agent_home ON agent (principal, name, id);

CREATE TABLE task (
    id INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL REFERENCES run, kind TEXT NOT NULL,
    subject TEXT NOT NULL, detail TEXT NOT NULL, state TEXT NOT NULL, priority INTEGER NOT NULL,
    rank INTEGER NOT NULL, needs TEXT NOT NULL, subject_key TEXT NOT NULL, copy_of INTEGER NOT NULL,
    blocked_by INTEGER NOT NULL, attempts INTEGER NOT NULL, losses INTEGER NOT NULL,
    rejections INTEGER NOT NULL, agent TEXT NOT NULL,
    result INTEGER NOT NULL, about INTEGER NOT NULL, parent INTEGER NOT NULL, reason TEXT NOT NULL,
    favours TEXT NOT NULL, favours_until REAL NOT NULL, created_at REAL NOT NULL, claimed_at REAL NOT NULL,
    ended_at REAL NOT NULL, token TEXT NOT NULL, lease_until REAL NOT NULL
);
-- Claiming reads the head of this index for each set of needs that the agent covers.
CREATE INDEX task_ready ON task (run, needs, rank DESC, id) WHERE state = 'ready' AND kind <> 'decide';
CREATE INDEX task_decide ON task (run, id) WHERE state = 'ready' AND kind = 'decide';
CREATE INDEX task_favours ON task (run, favours, id)
    WHERE state = 'ready' AND favours <> '' AND kind <> 'decide';
CREATE INDEX task_favours_end ON task (run, favours_until) WHERE state = 'ready' AND favours <> '';
CREATE INDEX task_lease ON task (run, lease_until) WHERE state = 'leased';
CREATE INDEX task_agent ON task (run, agent) WHERE state = 'leased';
CREATE INDEX task_subject ON task (run, subject_key, copy_of)
    WHERE state IN ('blocked', 'ready', 'leased', 'submitted');
CREATE INDEX task_state ON task (run, state);

CREATE TABLE dep (
    needs INTEGER NOT NULL REFERENCES task, task INTEGER NOT NULL REFERENCES task,
    PRIMARY KEY (needs, task)
) WITHOUT ROWID;
CREATE INDEX dep_task ON dep (task);

CREATE TABLE entry (
    id INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL REFERENCES run, kind TEXT NOT NULL,
    gist TEXT NOT NULL, summary TEXT NOT NULL, raw TEXT NOT NULL, scope TEXT NOT NULL, key TEXT NOT NULL,
    state TEXT NOT NULL, strength TEXT NOT NULL, agent TEXT NOT NULL, principal TEXT NOT NULL,
    task INTEGER NOT NULL, completes INTEGER NOT NULL, evidence TEXT NOT NULL, supersedes TEXT NOT NULL,
    derived_from TEXT NOT NULL, base_version INTEGER NOT NULL, gist_key TEXT NOT NULL, flags TEXT NOT NULL,
    receipts TEXT NOT NULL, reason TEXT NOT NULL, "commit" TEXT NOT NULL, admitted_as TEXT NOT NULL,
    proposed_at REAL NOT NULL, decided_at REAL NOT NULL, version INTEGER NOT NULL
);
CREATE INDEX entry_state ON entry (run, state);
CREATE INDEX entry_task ON entry (task);
-- One live entry a key, also if a rule above ever failed to see it.
CREATE UNIQUE INDEX entry_key ON entry (run, key) WHERE key <> '' AND state IN ('admitted', 'suspect');
CREATE INDEX entry_gist ON entry (run, gist_key) WHERE state IN ('admitted', 'suspect');

CREATE TABLE lineage (
    parent INTEGER NOT NULL REFERENCES entry, child INTEGER NOT NULL REFERENCES entry,
    PRIMARY KEY (parent, child)
) WITHOUT ROWID;

CREATE VIRTUAL TABLE entry_words USING fts5 (gist, content = '', tokenize = 'unicode61');

CREATE TABLE change (
    id INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL REFERENCES run, version INTEGER NOT NULL,
    entry INTEGER NOT NULL REFERENCES entry, what TEXT NOT NULL, note TEXT NOT NULL, audience TEXT NOT NULL
);
CREATE INDEX change_version ON change (run, version, id);

CREATE TABLE checks (
    id INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL REFERENCES run,
    entry INTEGER NOT NULL REFERENCES entry, name TEXT NOT NULL, state TEXT NOT NULL, verdict TEXT NOT NULL,
    reason TEXT NOT NULL, receipt TEXT NOT NULL, tries INTEGER NOT NULL, created_at REAL NOT NULL,
    ended_at REAL NOT NULL, worker TEXT NOT NULL, lease_until REAL NOT NULL
);
CREATE INDEX checks_open ON checks (name, id) WHERE state <> 'done';
CREATE INDEX checks_run ON checks (run) WHERE state <> 'done';
CREATE INDEX checks_running ON checks (name, run) WHERE state = 'running';
CREATE INDEX checks_entry ON checks (entry);

CREATE TABLE source (
    id INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL REFERENCES run, name TEXT NOT NULL,
    sha256 TEXT NOT NULL, text TEXT NOT NULL, added_at REAL NOT NULL,
    UNIQUE (run, name)
);

CREATE TABLE observation (
    run TEXT NOT NULL REFERENCES run, key TEXT NOT NULL, outcome TEXT NOT NULL,
    PRIMARY KEY (run, key)
) WITHOUT ROWID;

CREATE TABLE request (
    scope TEXT NOT NULL, id TEXT NOT NULL, fingerprint TEXT NOT NULL, answer TEXT NOT NULL,
    PRIMARY KEY (scope, id)
) WITHOUT ROWID;

CREATE TABLE token (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, sha256 TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL, runs TEXT NOT NULL, agent TEXT NOT NULL, created_at REAL NOT NULL,
    expires_at REAL NOT NULL, revoked_at REAL NOT NULL
);

CREATE TABLE log (
    run TEXT NOT NULL REFERENCES run, seq INTEGER NOT NULL, version INTEGER NOT NULL, at REAL NOT NULL,
    op TEXT NOT NULL, actor TEXT NOT NULL, changes TEXT NOT NULL, prev TEXT NOT NULL, hash TEXT NOT NULL,
    PRIMARY KEY (run, seq)
) WITHOUT ROWID;

-- History is appended to, never rewritten.
CREATE TRIGGER log_no_update BEFORE UPDATE ON log BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER log_no_delete BEFORE DELETE ON log BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER change_no_update BEFORE UPDATE ON change
    BEGIN SELECT RAISE(ABORT, 'the context history is append-only'); END;
CREATE TRIGGER change_no_delete BEFORE DELETE ON change
    BEGIN SELECT RAISE(ABORT, 'the context history is append-only'); END;
CREATE TRIGGER entry_immutable
    BEFORE UPDATE OF run, kind, gist, summary, raw, scope, key, agent, principal, task, completes, supersedes,
        derived_from, base_version, "commit", proposed_at ON entry BEGIN SELECT RAISE(ABORT, 'an entry is immutable once proposed'); END;

-- Verification by peers: votes, doubts, verify tasks that some principals may not take.

ALTER TABLE entry ADD COLUMN round INTEGER NOT NULL DEFAULT 0;
ALTER TABLE entry ADD COLUMN doubts TEXT NOT NULL DEFAULT '[]';
-- What a moved head may have made stale.
CREATE INDEX entry_executed ON entry (run, id)
    WHERE strength = 'executed' AND state = 'admitted' AND kind IN ('fact', 'fail');
CREATE INDEX lineage_child ON lineage (child, parent);

ALTER TABLE task ADD COLUMN shuns TEXT NOT NULL DEFAULT '';
-- Verify tasks have a queue of their own, because who may take one depends on its entry.
DROP INDEX task_ready;
CREATE INDEX task_ready ON task (run, needs, rank DESC, id) WHERE state = 'ready' AND kind = 'work';
CREATE INDEX task_verify ON task (run, rank DESC, id) WHERE state = 'ready' AND kind = 'verify';
CREATE INDEX task_about ON task (about, id)
    WHERE kind = 'verify' AND state IN ('blocked', 'ready', 'leased', 'submitted');
DROP INDEX task_favours_end;
CREATE INDEX task_favours_end ON task (run, favours_until) WHERE state = 'ready' AND favours_until > 0;

CREATE INDEX change_entry ON change (entry, id);
CREATE INDEX checks_name ON checks (run, name, ended_at);

CREATE TABLE vote (
    id INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL REFERENCES run,
    entry INTEGER NOT NULL REFERENCES entry, round INTEGER NOT NULL, principal TEXT NOT NULL,
    agent TEXT NOT NULL, verdict TEXT NOT NULL, reason TEXT NOT NULL, fails TEXT NOT NULL,
    against TEXT NOT NULL, task INTEGER NOT NULL, case_tokens INTEGER NOT NULL, at REAL NOT NULL
);
CREATE INDEX vote_entry ON vote (entry, id);
CREATE INDEX vote_run ON vote (run, id);
-- Also if a rule above ever failed to see it: one dispute a principal and entry, one verdict a round.
CREATE UNIQUE INDEX vote_dispute ON vote (entry, principal) WHERE task = 0;
CREATE UNIQUE INDEX vote_once ON vote (entry, round, principal) WHERE task > 0;
CREATE TRIGGER vote_no_update BEFORE UPDATE ON vote BEGIN SELECT RAISE(ABORT, 'votes are append-only'); END;
CREATE TRIGGER vote_no_delete BEFORE DELETE ON vote BEGIN SELECT RAISE(ABORT, 'votes are append-only'); END;

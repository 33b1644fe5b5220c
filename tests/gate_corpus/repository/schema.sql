-- Schema of the ledger, version 27. Applied in order; never edit an applied migration.

CREATE TABLE account (
    id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    iban         VARCHAR(34) NOT NULL UNIQUE,
    currency     CHAR(3)     NOT NULL DEFAULT 'EUR',
    opened_on    DATE        NOT NULL,
    closed_on    DATE,
    CHECK (closed_on IS NULL OR closed_on >= opened_on)
);

CREATE TABLE posting (
    id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id   BIGINT         NOT NULL REFERENCES account (id) ON DELETE RESTRICT,
    booked_at    TIMESTAMPTZ    NOT NULL DEFAULT now(),
    amount       NUMERIC(14, 2) NOT NULL CHECK (amount <> 0),
    reference    VARCHAR(140),
    reversed_by  BIGINT         REFERENCES posting (id)
);

-- Reports read by month; nothing reads by reference, so it has no index.
CREATE INDEX posting_by_account_month
    ON posting (account_id, date_trunc('month', booked_at AT TIME ZONE 'UTC'));

CREATE UNIQUE INDEX posting_reversed_once
    ON posting (reversed_by)
    WHERE reversed_by IS NOT NULL;

CREATE TABLE statement (
    account_id   BIGINT  NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    month        DATE    NOT NULL CHECK (extract(day FROM month) = 1),
    closing      NUMERIC(14, 2) NOT NULL,
    sent_at      TIMESTAMPTZ,
    PRIMARY KEY (account_id, month)
);

-- A closed account takes no postings. Enforced here because two services write.
CREATE FUNCTION refuse_closed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM account
               WHERE id = NEW.account_id AND closed_on IS NOT NULL) THEN
        RAISE EXCEPTION 'account % is closed', NEW.account_id
            USING ERRCODE = '23514';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER posting_refuse_closed
    BEFORE INSERT ON posting
    FOR EACH ROW EXECUTE FUNCTION refuse_closed();

-- Role for reports: may read, may not write.
GRANT SELECT ON account, posting, statement TO reporting;
ALTER ROLE reporting SET statement_timeout = '90s';

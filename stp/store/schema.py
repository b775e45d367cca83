"""The tables, their indexes and the views for people, as a list of migrations.

`PRAGMA user_version` counts the migrations applied. A migration that a release has carried is never
edited: the next one changes what it made.

    statements ──< proofs ──< attempts        what was sampled, with its multiplicity
         │            └────── checks          what the checker said, once a proof
         ├──< conjectures                     what the conjecturer wrote, and which gate stopped it
         ├──< examples, evaluations           what was trained on, what was measured
    rounds, meta                              end marks of the stages; values of the run
"""

from __future__ import annotations

import sqlite3

#: "STP1" in the header of the file tells a store from any other SQLite database.
APPLICATION_ID = 0x53545031

# attempts is clustered on its key, stage and round first: every question of the round asks for one
# stage and a range of rounds, and new rows go to the end. proofs and checks keep their hidden row
# number, so that long texts are appended and only the short keys land in random places.
_TABLES = f"""
PRAGMA application_id = {APPLICATION_ID};

CREATE TABLE statements (
  key TEXT NOT NULL PRIMARY KEY,
  system TEXT NOT NULL,
  header TEXT NOT NULL,
  name TEXT NOT NULL,
  text TEXT NOT NULL,
  source TEXT NOT NULL,
  origin TEXT,
  parents TEXT NOT NULL CHECK (json_valid(parents)),
  split TEXT CHECK (split IN ('train', 'test')),
  round INTEGER NOT NULL
) STRICT;
CREATE INDEX statements_round ON statements (round, source);

CREATE TABLE proofs (
  key TEXT NOT NULL PRIMARY KEY,
  statement TEXT NOT NULL REFERENCES statements (key),
  text TEXT NOT NULL
) STRICT;

CREATE TABLE attempts (
  statement TEXT NOT NULL REFERENCES statements (key),
  proof TEXT NOT NULL REFERENCES proofs (key),
  round INTEGER NOT NULL,
  stage TEXT NOT NULL CHECK (stage IN ('seed', 'probe', 'attempt', 'evaluate')),
  count INTEGER NOT NULL CHECK (count > 0),
  tokens INTEGER NOT NULL,
  PRIMARY KEY (stage, round, statement, proof)
) STRICT, WITHOUT ROWID;

CREATE TABLE checks (
  proof TEXT NOT NULL PRIMARY KEY REFERENCES proofs (key),
  verdict TEXT NOT NULL,
  reason TEXT NOT NULL,
  heartbeats INTEGER NOT NULL,
  elapsed_ms REAL NOT NULL,
  axioms TEXT NOT NULL CHECK (json_valid(axioms)),
  premises TEXT NOT NULL CHECK (json_valid(premises)),
  toolchain TEXT NOT NULL
) STRICT;

CREATE TABLE conjectures (
  round INTEGER NOT NULL,
  input INTEGER NOT NULL,
  sample INTEGER NOT NULL,
  seed TEXT NOT NULL REFERENCES statements (key),
  seed_proof TEXT REFERENCES proofs (key),
  lemma_name TEXT,
  lemma_statement TEXT,
  text TEXT NOT NULL,
  outcome TEXT NOT NULL CHECK (outcome IN
    ('sampled', 'unparsed', 'duplicate', 'contaminated', 'bloated', 'uncompiled', 'vacuous', 'refuted',
     'trivial', 'known', 'surplus', 'kept')),
  statement TEXT REFERENCES statements (key),
  tokens INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (round, input, sample),
  CHECK ((outcome = 'kept') = (statement IS NOT NULL)),
  CHECK ((lemma_name IS NULL) = (lemma_statement IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE rounds (
  round INTEGER NOT NULL,
  stage TEXT NOT NULL,
  started_at TEXT NOT NULL,
  finished_at TEXT,
  elapsed_s REAL NOT NULL DEFAULT 0,
  stats TEXT NOT NULL DEFAULT '{{}}' CHECK (json_valid(stats)),
  PRIMARY KEY (round, stage)
) STRICT;

CREATE TABLE examples (
  id INTEGER PRIMARY KEY,
  round INTEGER NOT NULL,
  role TEXT NOT NULL CHECK (role IN ('prover', 'conjecturer')),
  statement TEXT NOT NULL REFERENCES statements (key),
  proof TEXT REFERENCES proofs (key),
  input INTEGER,
  sample INTEGER,
  free INTEGER NOT NULL DEFAULT 0 CHECK (free IN (0, 1)),
  weight REAL NOT NULL,
  FOREIGN KEY (round, input, sample) REFERENCES conjectures (round, input, sample),
  CHECK ((role = 'prover') = (proof IS NOT NULL)),
  CHECK ((role = 'conjecturer') = (input IS NOT NULL) AND (input IS NULL) = (sample IS NULL))
) STRICT;
CREATE UNIQUE INDEX examples_prover ON examples (round, proof) WHERE role = 'prover';
CREATE UNIQUE INDEX examples_conjecturer ON examples (round, statement) WHERE role = 'conjecturer';

CREATE TABLE evaluations (
  round INTEGER NOT NULL,
  dataset TEXT NOT NULL,
  statement TEXT NOT NULL REFERENCES statements (key),
  samples INTEGER NOT NULL,
  proved INTEGER NOT NULL CHECK (proved BETWEEN 0 AND samples),
  tokens INTEGER NOT NULL,
  PRIMARY KEY (round, dataset, statement)
) STRICT;

CREATE TABLE meta (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL CHECK (json_valid(value))) STRICT;
"""

# CROSS JOIN fixes the order of the loops: attempts first, in key order, so that grouping needs no sort.
_VIEWS = """
CREATE VIEW tallies AS
  SELECT a.stage, a.round, a.statement,
         SUM(a.count) AS attempts, SUM(a.count * (c.verdict = 'proved')) AS proved
  FROM attempts a CROSS JOIN checks c ON c.proof = a.proof
  WHERE c.verdict NOT IN ('crashed', 'out_of_memory')
  GROUP BY a.stage, a.round, a.statement;

CREATE VIEW pass_rates AS
  SELECT s.key, s.text AS statement, s.source, t.round, SUM(t.attempts) AS attempts, SUM(t.proved) AS proved,
         1.0 * SUM(t.proved) / SUM(t.attempts) AS pass_rate
  FROM tallies t CROSS JOIN statements s ON s.key = t.statement
  WHERE t.stage IN ('probe', 'attempt') AND s.split IS NOT 'test'
  GROUP BY t.round, t.statement;

CREATE VIEW barely_provable AS
  SELECT statement, pass_rate, attempts, round, key FROM pass_rates
  WHERE source = 'conjecture' AND proved > 0
    AND pass_rate <= (SELECT json_extract(value, '$') FROM meta WHERE meta.key = 'band_high')
  ORDER BY round, pass_rate, key;

CREATE VIEW rounds_summary AS
  SELECT c.round, COUNT(*) AS sampled,
         SUM(c.outcome NOT IN ('sampled', 'unparsed')) AS parsed,
         SUM(c.outcome NOT IN ('sampled', 'unparsed', 'duplicate', 'contaminated')) AS new,
         SUM(c.outcome IN ('vacuous', 'refuted', 'trivial', 'known', 'surplus', 'kept')) AS compiled,
         SUM(c.outcome IN ('trivial', 'known', 'surplus', 'kept')) AS not_refuted,
         SUM(c.outcome IN ('known', 'surplus', 'kept')) AS not_trivial,
         SUM(c.outcome = 'kept') AS kept,
         SUM(EXISTS (
           SELECT 1 FROM attempts a CROSS JOIN checks k ON k.proof = a.proof
           WHERE a.stage IN ('probe', 'attempt') AND a.round = c.round AND a.statement = c.statement
             AND k.verdict = 'proved')) AS proved
  FROM conjectures c GROUP BY c.round;
"""

# A CHECK cannot be changed: the table is made anew, and with it the views that read it.
_COMPLETE = """
DROP VIEW rounds_summary;
DROP VIEW barely_provable;
DROP VIEW pass_rates;
DROP VIEW tallies;
CREATE TABLE attempts_2 (
  statement TEXT NOT NULL REFERENCES statements (key),
  proof TEXT NOT NULL REFERENCES proofs (key),
  round INTEGER NOT NULL,
  stage TEXT NOT NULL CHECK (stage IN ('seed', 'probe', 'attempt', 'complete', 'evaluate')),
  count INTEGER NOT NULL CHECK (count > 0),
  tokens INTEGER NOT NULL,
  PRIMARY KEY (stage, round, statement, proof)
) STRICT, WITHOUT ROWID;
INSERT INTO attempts_2 SELECT * FROM attempts;
DROP TABLE attempts;
ALTER TABLE attempts_2 RENAME TO attempts;
""" + _VIEWS.replace("('probe', 'attempt')", "('probe', 'attempt', 'complete')")

#: What fixed tactics prove was once called a portfolio's, which is proof search's.
_FIXED = """
UPDATE evaluations SET dataset = replace(dataset, '/portfolio', '/fixed') WHERE dataset LIKE '%/portfolio';
"""

#: A goal of an earlier round that is attempted again is no conjecture of this one.
_OF_THE_ROUND = """
DROP VIEW barely_provable;
CREATE VIEW barely_provable AS
  SELECT statement, pass_rate, attempts, round, key FROM pass_rates p
  WHERE source = 'conjecture' AND proved > 0
    AND pass_rate <= (SELECT json_extract(value, '$') FROM meta WHERE meta.key = 'band_high')
    AND EXISTS (SELECT 1 FROM statements s WHERE s.key = p.key AND s.round = p.round)
  ORDER BY round, pass_rate, key;
"""

MIGRATIONS = (_TABLES + _VIEWS, _COMPLETE, _FIXED, _OF_THE_ROUND)


def migrate(connection: sqlite3.Connection, version: int) -> None:
    """Apply the migrations from number `version` on, each in one transaction with its record."""
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        try:
            connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

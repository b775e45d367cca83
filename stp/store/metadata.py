"""What a run's database holds, as Datasette reads it: `datasette stp.sqlite --metadata metadata.json`."""

from __future__ import annotations

from typing import Any

_KEY = "of the statement: name-free, equal for what says the same"
_ROUND = "counted from 1; 0 is the seed corpus"
_TABLES: dict[str, tuple[str, dict[str, str]]] = {
    "statements": (
        "Theorems without their proofs.",
        {
            "key": "name-free: two statements of one key say the same",
            "system": "lean or isabelle",
            "header": "what stands before it in a file; empty: the bare prelude",
            "name": "without meaning",
            "text": "theorem NAME SIGNATURE",
            "source": "dataset, seed, conjecture or negation",
            "origin": "the library theorem that it restates, which no proof of it may use",
            "parents": "keys of the statements that it was made from",
            "split": "train, test (held out), or empty: the seed corpus alone",
            "round": "in which it appeared",
        },
    ),
    "proofs": (
        "Texts that were tried as proofs, each once.",
        {"key": "of the proof", "statement": _KEY, "text": "the term after :=; empty: cut short"},
    ),
    "attempts": (
        "How often each proof was sampled.",
        {
            "statement": _KEY,
            "proof": "its key",
            "round": _ROUND,
            "stage": "seed, probe (the first of the attempts), attempt, complete (a failed one, mended), or"
            " evaluate (held out)",
            "count": "times",
            "tokens": "that the model wrote for them all",
        },
    ),
    "checks": (
        "What the checker said of each proof.",
        {
            "proof": "its key",
            "verdict": "only `proved` is a proof; crashed and out_of_memory say nothing of it",
            "reason": "in words",
            "heartbeats": "Lean's measure of the work, in thousands of small allocations",
            "elapsed_ms": "in the checker, without the wait",
            "axioms": "that the proof rests on",
            "premises": "library theorems that it uses: name, module, statement",
            "toolchain": "digest of the prover and the checker",
        },
    ),
    "conjectures": (
        "What the conjecturer wrote, and which gate stopped it.",
        {
            "round": _ROUND,
            "input": "number of the prompt",
            "sample": "number of the text for this prompt",
            "seed": "key of the statement that it read",
            "seed_proof": "key of the proof that it read",
            "lemma_name": "that it read; empty: none",
            "lemma_statement": "the lemma as it was shown",
            "text": "as written",
            "outcome": "the gate that stopped it, or kept",
            "statement": "key of the statement that it became",
            "tokens": "that the model wrote",
        },
    ),
    "rounds": (
        "How far each stage of each round is.",
        {
            "round": _ROUND,
            "stage": "its name",
            "started_at": "UTC",
            "finished_at": "UTC; empty: under way",
            "elapsed_s": "wall clock, over restarts",
            "stats": "what it counted",
        },
    ),
    "examples": (
        "What each round trained on.",
        {
            "id": "without meaning",
            "round": _ROUND,
            "role": "prover or conjecturer",
            "statement": "to prove, or to write",
            "proof": "key of the prover's target",
            "input": "the conjecture's prompt",
            "sample": "its number for this prompt",
            "free": "1: trained without its lemma, which no proof of it uses",
            "weight": "beside other examples",
        },
    ),
    "evaluations": (
        "Held-out statements, sampled with each round's model.",
        {
            "round": _ROUND,
            "dataset": "NAME/fixed: fixed tactics instead of the model",
            "statement": _KEY,
            "samples": "that count",
            "proved": "of these",
            "tokens": "that the model wrote",
        },
    ),
    "meta": ("Values of the run, its settings among them.", {"key": "its name", "value": "JSON"}),
    "tallies": (
        "What each statement got in each round and stage; what crashed is left out.",
        {
            "stage": "as in attempts",
            "round": _ROUND,
            "statement": _KEY,
            "attempts": "with repeats",
            "proved": "of these",
        },
    ),
    "pass_rates": (
        "How often attempts at each training statement held, round by round.",
        {
            "key": _KEY,
            "statement": "its text",
            "source": "dataset or conjecture",
            "round": _ROUND,
            "attempts": "with repeats",
            "proved": "of these",
            "pass_rate": "proved / attempts",
        },
    ),
    "barely_provable": (
        "Conjectures of a round proved seldom, but proved: what the conjecturer learns from.",
        {
            "statement": "its text",
            "pass_rate": "proved / attempts",
            "attempts": "with repeats",
            "round": _ROUND,
            "key": _KEY,
        },
    ),
    "rounds_summary": (
        "What is left of each round's conjectures after each gate.",
        {
            "round": _ROUND,
            "sampled": "texts",
            "parsed": "are statements",
            "new": "of these, repeat nothing",
            "compiled": "of these, elaborate",
            "not_refuted": "of these, are not known to be false",
            "not_trivial": "of these, no cheap tactic closes",
            "kept": "of these, were attempted",
            "proved": "of these, at least once",
        },
    ),
}
_QUERIES = {
    "first_proofs": (
        "Dataset statements in the order in which they were first proved",
        "SELECT MIN(p.round) AS round, p.statement, SUM(p.attempts) AS attempts, SUM(p.proved) AS proved"
        " FROM pass_rates p WHERE p.source = 'dataset' GROUP BY p.key HAVING SUM(p.proved) > 0"
        " ORDER BY round",
    ),
    "proofs_of": (
        "The proofs of a statement, by its key",
        "SELECT p.text, c.heartbeats, MIN(a.round) AS round, SUM(a.count) AS count FROM proofs p"
        " JOIN checks c ON c.proof = p.key JOIN attempts a ON a.proof = p.key"
        " WHERE p.statement = :key AND c.verdict = 'proved' GROUP BY p.key ORDER BY LENGTH(p.text)",
    ),
    "verdicts": (
        "Verdicts of the attempts of each round",
        "SELECT a.round, a.stage, c.verdict, SUM(a.count) AS count FROM attempts a"
        " JOIN checks c ON c.proof = a.proof GROUP BY a.round, a.stage, c.verdict",
    ),
}


def metadata(title: str) -> dict[str, Any]:
    """`metadata.json` of a run: every table, view and column in words, and questions to begin with."""
    return {
        "title": title,
        "description": "Everything that happened in a run of self-play of STP.",
        "databases": {
            "stp": {
                "tables": {
                    name: {"description": text, "columns": columns}
                    for name, (text, columns) in _TABLES.items()
                },
                "queries": {name: {"title": title, "sql": sql} for name, (title, sql) in _QUERIES.items()},
            }
        },
    }

"""A run made by hand, of any number of rounds, whose numbers the tests know."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stp.store.rows import Conjecture, Evaluation, Outcome, proof_key
from stp.store.store import Store
from stp.types import CheckResult, Source, Statement, System, Verdict

STAGES = ("seeds", "conjecture", "gate", "attempt", "select", "train", "evaluate")
SEED_PROOF = "by exact seed"
#: Conjectures of a round by the gate that stopped each: 10 sampled, 9 parsed, 7 new, 6 compiled, 5 hard.
OUTCOMES = (
    *(Outcome.UNPARSED, Outcome.DUPLICATE, Outcome.DUPLICATE, Outcome.UNCOMPILED, Outcome.TRIVIAL),
    *(Outcome.SURPLUS, *[Outcome.KEPT] * 4),
)


def statement(key: str, source: Source, text: str | None = None) -> Statement:
    text = text or f"theorem name_{key} (n : Nat) : n + {len(key)} = {len(key)} + n"
    return Statement(System.LEAN, "", f"name_{key}", text, key, source)


def attempt(store: Store, round: int, key: str, proved: int, rejected: int, proof: str = "by simp") -> None:
    """`proved` attempts by one text and `rejected` by another."""
    rows = [(key, proof, proved, 0), (key, "by wrong", rejected, 0)]
    store.add_attempts(round, "attempt", [row for row in rows if row[2]])
    check(store, key, proof, Verdict.PROVED)
    if rejected:
        check(store, key, "by wrong", Verdict.REJECTED)


def check(store: Store, key: str, proof: str, verdict: Verdict) -> None:
    if proof_key(key, proof) in {row[0] for row in store._rows("SELECT key FROM proofs")}:
        store.add_checks([(proof_key(key, proof), CheckResult(id="job", verdict=verdict))])


def mark(store: Store, round: int, name: str, elapsed_s: float) -> None:
    store.begin_stage(round, name)
    store.finish_stage(round, name, {})
    with store.atomic():
        store._write(
            "UPDATE rounds SET elapsed_s = ? WHERE round = ? AND stage = ?", [(elapsed_s, round, name)]
        )


def begun_run(store: Store) -> None:
    """Round 0: two dataset statements, one of them proved by the seed corpus; two held-out ones evaluated."""
    store.set_meta("band_high", 0.25)
    store.set_meta("settings_digest", "0123abcd")
    store.set_meta("toolchain", "Lean 4.99 (embedded)")
    store.add_statements([statement(key, Source.DATASET) for key in ("easy", "hard")], 0, "train")
    store.add_statements([statement(key, Source.DATASET) for key in ("held1", "held2")], 0, "test")
    store.add_attempts(0, "seed", [("easy", SEED_PROOF, 1, 0)])
    check(store, "easy", SEED_PROOF, Verdict.PROVED)
    mark(store, 0, "evaluate", 30.0)
    evaluate(store, 0, first=1)
    store.add_evaluations(Evaluation(0, "core/fixed", key, 4, int(key == "held1"), 0) for key in _HELD)


_HELD = ("held1", "held2")


def evaluate(store: Store, round: int, first: int) -> None:
    """`first` of 4 samples prove the first held-out statement, and none the second."""
    proved = dict(zip(_HELD, (first, 0), strict=True))
    store.add_evaluations(Evaluation(round, "core", key, 4, n, 100) for key, n in proved.items())


def add_round(
    store: Store, round: int, *, statement_text: str | None = None, lemma: str = "Nat.lemma"
) -> None:
    """A finished round: of 4 kept conjectures, 1 unproved, 1 barely provable, 1 at 50%, 1 always proved."""
    conjecture_round(store, round, statement_text=statement_text, lemma=lemma)
    for name in STAGES[:3]:
        mark(store, round, name, 60.0)
    for i, proved in enumerate((0, 1, 4, 8)):
        attempt(store, round, f"c{round}_{i}", proved, 8 - proved)
    attempt(store, round, "hard", int(round >= 2), 8 - int(round >= 2))
    for name in STAGES[3:]:
        mark(store, round, name, 60.0)
    evaluate(store, round, first=min(4, 1 + round))


def conjecture_round(
    store: Store, round: int, *, statement_text: str | None = None, lemma: str = "Nat.lemma"
) -> None:
    kept = iter(range(4))
    rows = []
    for sample, outcome in enumerate(OUTCOMES):
        key = f"c{round}_{next(kept)}" if outcome is Outcome.KEPT else None
        if key:
            store.add_statements([statement(key, Source.CONJECTURE, statement_text)], round)
        name, text = (lemma, f"{lemma} : 1 = 1") if sample % 2 else (None, None)
        parts = ("easy", proof_key("easy", SEED_PROOF), name, text, "theorem t : 1 = 1", outcome, key)
        rows.append(Conjecture(round, 0, sample, *parts))
    store.add_conjectures(rows)


KEYS = [f"k{i}" for i in range(20)]


@dataclass
class Made:
    """A run made by hand: how many of its 20 statements are proved after each round, at how many tokens."""

    proved: tuple[int, ...]
    tokens: int
    seed: int = 0
    mode: str = "solved"
    keys: tuple[str, ...] = tuple(KEYS)

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True)
        with Store(folder / "stp.sqlite") as store:
            store.set_meta("settings", {"seed": self.seed, "conjecture": {"mode": self.mode}})
            store.set_meta("band_high", 0.25)
            store.add_statements([statement(key, Source.DATASET) for key in self.keys], 0, "train")
            store.add_statements([statement("held", Source.DATASET)], 0, "test")
            for number, count in enumerate(self.proved, 1):
                self._round(store, number, count)
        return folder

    def _round(self, store: Store, number: int, count: int) -> None:
        before = self.proved[number - 2] if number > 1 else 0
        for at, key in enumerate(self.keys[before:]):
            good = at < count - before
            text = f"by intro h; omega -- {number}" if good else f"by wrong {number}"
            spent = self.tokens // (len(self.keys) - before)
            store.add_attempts(number, "attempt", [(key, text, 4, spent)])
            verdict = Verdict.PROVED if good else Verdict.REJECTED
            store.add_checks([(proof_key(key, text), CheckResult("", verdict, times_ms={"proof": 10.0}))])
        if self.mode != "off":
            text = "theorem c (a b : Nat) (h : a < b ∨ b < a) : a ≠ b"
            store.add_statements([statement(f"c{number}", Source.CONJECTURE, text)], number)
            store.add_attempts(number, "seed", [(self.keys[0], "by seed", 1, 0)])
            first, seed_proof = self.keys[0], proof_key(self.keys[0], "by seed")
            rows = [
                Conjecture(number, 0, 0, first, seed_proof, "l", "l : p", text, Outcome.KEPT, f"c{number}"),
                Conjecture(number, 0, 1, first, None, None, None, text, Outcome.DUPLICATE),
            ]
            store.add_conjectures(rows)
            attempt(store, number, f"c{number}", 1, 7)
        for stage in ("attempt", "evaluate"):
            mark(store, number, stage, 3600.0)
        store.add_evaluations([Evaluation(number, "core", "held", 4, number, 0)])

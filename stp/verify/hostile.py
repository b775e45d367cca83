"""Jobs that try to take a checker down, with the verdicts that are due: for tests and `stp bench hostile`.

Covered: endless loops in tactics, the elaborator and the kernel, bombs of memory, floods of text (64 MB
of messages too), deep nesting, what is no text. Not covered: cheats (`tests/cheats`).
"""

from __future__ import annotations

from stp.types import Job, Limits, Verdict

_LOOP = "theorem foo (f : Nat → Nat) (h : ∀ x, f x = f (x + 1)) : f {i} = 1"
#: Counts down 2 ^ 60 times in the kernel, in continuations: no deeper stack, no step that a cache knows.
_COUNT = (
    "theorem foo : Nat.rec (motive := fun _ => Nat → (Nat → Nat) → Nat)"
    " (fun x k => Nat.rec (motive := fun _ => Nat) 1 (fun p _ => id k p) x)"
    " (fun _ r x k => r x fun y => r y k) 60 10000000000000000000 id = 1"
)
#: Statement, proof, the verdicts that are due.
_HOSTILE = [
    (_LOOP, "by simp [h]", {Verdict.REJECTED, Verdict.TIMED_OUT}),
    (_LOOP, "by repeat rw [h]", {Verdict.REJECTED, Verdict.TIMED_OUT}),
    ("theorem foo : False", "by repeat (first | skip | trivial)", {Verdict.REJECTED, Verdict.TIMED_OUT}),
    ("theorem foo : False", "by iterate {n} skip", {Verdict.REJECTED}),
    ("theorem foo : False", "by trace {long}; trivial", {Verdict.REJECTED}),
    ("theorem foo : False", "by iterate 110 (trace {long}); trivial", {Verdict.REJECTED}),
    ("theorem foo : False", "{deep}trivial", {Verdict.REJECTED}),
    ("theorem foo : False", "by exact \0", {Verdict.REJECTED}),
    ("theorem foo : False", "by exact \ud800", {Verdict.REJECTED}),
    ("theorem foo : False", "by {huge}", {Verdict.REJECTED}),
    ("theorem foo : 2 ^ (2 ^ {i}{i}) = 0", "by decide +kernel", {Verdict.REJECTED}),
    ("theorem foo : (List.range {n}).length = {i}", "by decide", {Verdict.REJECTED, Verdict.TIMED_OUT}),
    ("theorem foo : (List.replicate {n} 'a').asString.length = {i}", "rfl",
     {Verdict.REJECTED, Verdict.TIMED_OUT, Verdict.BAD_STATEMENT}),
]  # fmt: skip
#: These end the checker, each twice: a crash or a clock that ran out is tried once more. The kernel counts
#: heartbeats too, so they get as many as would last for minutes.
_DEADLY = [
    (_COUNT, "by decide +kernel"),
    ("theorem foo : (List.replicate 1000000000 1).length = 2", "by decide +kernel"),
]


def deadly() -> list[Job]:
    """Jobs that only a clock or a crash ends."""
    limits = Limits(5.0, 1_000_000)
    return [Job(f"deadly {i}", "", text, proof, limits=limits) for i, (text, proof) in enumerate(_DEADLY)]


def hostile(count: int) -> list[tuple[Job, set[Verdict]]]:
    """So many jobs, all different, each with the verdicts that are due."""
    found = []
    for i in range(count):
        statement, proof, due = _HOSTILE[i % len(_HOSTILE)]
        values = {
            "i": i, "n": 10**7 + i, "long": '"' + "x" * 600_000 + '"', "deep": "(" * (4000 + i),
            "huge": "skip;" * 2_000_000,
        }  # fmt: skip
        text, proof = (part.format(**values) if "{" in part else part for part in (statement, proof))
        found.append((Job(f"hostile {i}", "", text, proof, limits=Limits(30.0, 3_000)), due))
    return found

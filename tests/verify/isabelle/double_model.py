"""A small model of what a real Isabelle server was seen to answer (the table is in docs/isabelle.md).

It proves nothing: a proof works unless it says `fail`, does not come to its end or its statement is evidently
false, and `spin` runs for ever. What it does model is what was measured: which cheats a theory gets away
with, and what an audit sees of them. It reads the theories that the product writes; nothing tells it which
verdict a test expects.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

LIBRARY = {"Main", "Complex_Main", "Pure", "HOL-Library.Multiset"}
STATEMENTS = {"lemma", "theorem", "corollary", "proposition"}
THEORY_LEVEL = STATEMENTS | {
    "axiomatization", "definition", "oracle", "ML", "setup", "declare", "lemmas", "end", "text",
}  # fmt: skip
PROOFS = {"by", "proof", "apply", "using", "unfolding", "sorry", "oops", "\\<proof>", ".", ".."}
OPENS = {"have", "show", "hence", "thus", "obtain"}
CLOSES = {"by", ".", "..", "done", "sorry", "\\<proof>"}
IN_PROOF = PROOFS | OPENS | CLOSES | {"qed", "next", "{", "}", "case", "then", "fix", "assume", "note"}
COMMANDS = sorted(THEORY_LEVEL | IN_PROOF | {"ML_val", "own_ML_command"})
_TOKEN = re.compile(r'"[^"]*"|[A-Za-z][\w\'.]*[\w\']|[A-Za-z]|\\<\^?\w+>|\.\.|\S')
_JOB = re.compile(
    r'STP_Audit\.(report|record "([^"]*)") "(\w+)" @\{theory\} \w+ \w+ '
    r'\("(\d+)", "([\w.]+)", "(\w+)", "(\w+)", (true|false)\)'
)
_PREMISES = re.compile(r'STP_Audit\.premises "(\w+)" @\{theory\} \("(\d+)", "(\w+)", "(\w+)"\)')
#: Facts of the library that a proof of the model may name, and what they say.
FACTS = {
    "List.rev_append": "rev (xs @ ys) = rev ys @ rev xs",
    "List.append_assoc": "(xs @ ys) @ zs = xs @ ys @ zs",
    "HOL.refl": "t = t",
}
_SUM = re.compile(r"([\d+]+)=(\d+)")


@dataclass
class Fact:
    """A theorem: its statement in a plain form, what it rests on and whether it could be false."""

    statement: str
    oracles: set[str] = field(default_factory=set)
    free: bool = False  # an axiom, or proved from one: proves anything
    uses: set[str] = field(default_factory=set)
    cites: set[str] = field(default_factory=set)  # facts of its own theory, by their whole names


@dataclass
class Theory:
    """A theory that was gone through."""

    name: str
    parents: list[Theory] = field(default_factory=list)
    facts: dict[str, Fact] = field(default_factory=dict)
    axioms: set[str] = field(default_factory=set)
    noted: dict[str, set[str]] = field(default_factory=dict)
    messages: list[dict[str, object]] = field(default_factory=list)
    errors: list[dict[str, object]] = field(default_factory=list)
    commands: int = 2
    running: bool = False
    quick_and_dirty: bool = True

    def ancestors(self) -> list[Theory]:
        return [self, *(ancestor for parent in self.parents for ancestor in parent.ancestors())]

    def all_axioms(self) -> set[str]:
        return set().union(*(theory.axioms for theory in self.ancestors()))

    def fact(self, name: str) -> Fact | None:
        theory, _, base = name.rpartition(".")
        for ancestor in self.ancestors():
            if theory in ("", ancestor.name) and base in ancestor.facts:
                return ancestor.facts[base]
        return None

    def say(self, kind: str, text: str, line: int) -> None:
        message: dict[str, object] = {
            "kind": kind, "message": text,
            "pos": {"line": line, "offset": 1, "end_offset": 2, "file": f"/theories/{self.name}.thy"},
        }  # fmt: skip
        self.messages.append(message)
        if kind == "error":
            self.errors.append(message)

    def status(self) -> dict[str, object]:
        failed = len(self.errors)
        return {
            "percentage": 99 if self.running else 100, "unprocessed": 1 if self.running else 0,
            "running": int(self.running), "finished": self.commands - failed, "failed": failed,
            "total": self.commands, "consolidated": not self.running, "canceled": False,
            "ok": failed == 0, "warned": 0,
        }  # fmt: skip


def header(text: str) -> tuple[str, list[str]]:
    """Name and imports of a theory's text."""
    words = [word for word, _ in tokenize(text)]
    return words[1], [word.strip('"') for word in words[3 : words.index("begin")]]


def run(text: str, parents: list[Theory], *, quick_and_dirty: bool = True) -> Theory:
    """Goes through a theory."""
    words = tokenize(text)
    start = next(i for i, (word, _) in enumerate(words) if word == "begin") + 1
    theory = Theory(header(text)[0], parents, quick_and_dirty=quick_and_dirty)
    theory.noted = {k: v for parent in parents for k, v in parent.noted.items()}
    if any(parent.running for parent in parents):
        theory.running = True
        return theory
    commands: list[list[tuple[str, int]]] = []
    for word, line in words[start:]:
        if word in THEORY_LEVEL or not commands:
            commands.append([])
        commands[-1].append((word, line))
    is_open = False
    for command in commands:
        theory.commands += 1
        if is_open:
            _bad_context(theory, *command[0])
        is_open = _command(theory, command)
    return theory


def tokenize(text: str) -> list[tuple[str, int]]:
    """Words with their lines; a cartouche is one word, comments are none."""
    found, at, line = [], 0, 1
    while at < len(text):
        if text.startswith("(*", at):
            end = text.index("*)", at) + 2
        elif text.startswith("\\<open>", at):
            end = text.index("\\<close>", at) + len("\\<close>")
            found.append((text[at:end], line))
        elif match := _TOKEN.match(text, at):
            end = match.end()
            found.append((match[0], line))
        else:
            end = at + 1
        line += text.count("\n", at, end)
        at = end
    return found


def _command(theory: Theory, command: list[tuple[str, int]]) -> bool:
    """Goes through a command and its proof; whether that is left open."""
    words, line = [word for word, _ in command], command[0][1]
    kind = words[0]
    if kind in STATEMENTS:
        stray, is_open = _ends(command)
        for word, at in stray:
            _bad_context(theory, word, at)
        _statement(theory, words, line, is_open)
        return is_open
    if kind == "axiomatization":
        theory.axioms.add(f"{theory.name}.{words[2]}")
        theory.facts[words[2]] = Fact("axiom", free=True)
    elif kind == "definition":
        theory.axioms.add(f"{theory.name}.{words[1]}_def_raw")
    elif kind in ("ML", "setup"):
        _ml(theory, words[1], line)
    elif kind not in THEORY_LEVEL:
        theory.say("error", f"Outer syntax error\\<^here>: command expected,\nbut {kind} was found", line)
    return False


def _ends(command: list[tuple[str, int]]) -> tuple[list[tuple[str, int]], bool]:
    """The commands behind the end of a theorem's proof, and whether it has none."""
    goals = ["goal"]
    proof = [(word, line) for word, line in command[1:] if word in IN_PROOF]
    for at, (word, _) in enumerate(proof):
        if not goals:
            return proof[at:], False
        if word == "oops":
            goals.clear()
        elif word == "proof" and goals[-1] == "goal":
            goals.append("block")
        elif word in OPENS and goals[-1] == "block":
            goals.append("goal")
        elif word in CLOSES and goals[-1] == "goal":
            goals.pop()
        elif word == "qed" and goals[-1] == "block":
            del goals[-2:]
    return [], bool(goals)


def _statement(theory: Theory, words: list[str], line: int, is_open: bool) -> None:
    end = next((i for i, word in enumerate(words) if word in PROOFS), len(words))
    quoted = [word for word in words[:end] if word.startswith('"')]
    colon = ":" in words[:3]
    name = words[1] if colon or (len(words) > 1 and not words[1].startswith('"')) else ""
    signature = words[words.index(":") + 1 : end] if colon else words[1:end]
    if any(not word.strip('"').strip() for word in quoted) or not quoted or "ill typed" in "".join(quoted):
        theory.say("error", "Inner syntax error\\<^here>\nFailed to parse prop", line)
        _bad_context(theory, words[-1], line)
        return
    proof = words[end:]
    statement = plain(" ".join(signature))
    theory.say("writeln", f"theorem {name}: {quoted[-1]}", line)
    if "oops" in proof:
        return
    if "spin" in proof:
        theory.running = True
        return
    fact = Fact(statement)
    for word in proof:
        if used := theory.fact(word):
            fact.oracles |= used.oracles
            fact.free |= used.free or bool(used.oracles)
            fact.uses |= used.uses
            if word.rpartition(".")[2] in theory.facts:
                fact.cites.add(f"{theory.name}.{word.rpartition('.')[2]}")
    fact.uses |= FACTS.keys() & set(proof)
    if {"sorry", "\\<proof>"} & set(proof):
        if not theory.quick_and_dirty:
            theory.say("error", "Cheating requires quick_and_dirty mode!", line)
            return
        fact.oracles.add("Pure.skip_proof")
    elif "eval" in proof:
        fact.oracles.add("Code_Generator.holds_by_evaluation")
    elif not proof or "fail" in proof or (false(quoted[-1]) and not fact.free):
        theory.say("error", f"Failed to finish proof\\<^here>:\ngoal (1 subgoal):\n 1. {quoted[-1]}", line)
        return
    if is_open:
        return
    theory.facts[name] = fact


def _bad_context(theory: Theory, word: str, line: int) -> None:
    theory.say("error", f'Bad context for command "{word}"\\<^here> -- using reset state', line)


def plain(signature: str) -> str:
    """A statement up to blanks and the names of variables of one letter."""
    numbers: dict[str, str] = {}
    words = re.findall(r"\w+|\S", re.sub(r"\b[A-Za-z]\w+\s*:(?!:)|\bshows\b", "", signature))
    return " ".join(
        numbers.setdefault(word, f"?{len(numbers)}") if re.fullmatch("[a-z]", word) else word
        for word in words
    )


def false(prop: str) -> bool:
    """Evidently: `False`, or a sum of numerals that is another one."""
    text = re.sub(r"::nat|[\s()\"]", "", prop)
    match = _SUM.fullmatch(text)
    return text == "False" or bool(match and sum(map(int, match[1].split("+"))) != int(match[2]))


def _ml(theory: Theory, source: str, line: int) -> None:
    """The audit, as `isabelle/STP_Audit.thy` has it; of other ML only what it prints."""
    if match := re.search(r'STP_Audit\.note "(\w+)"', source):
        theory.noted[match[1]] = theory.all_axioms()
    elif match := re.search(r'STP_Audit\.commands "(\w+)"', source):
        theory.say("writeln", "\n".join([f"STP {match[1]} commands", *COMMANDS]), line)
    elif match := re.search(r'STP_Audit\.taint "(\w+)"', source):
        theory.say("writeln", "\n".join([f"STP {match[1]} taint", *TAINT]), line)
    elif match := _JOB.search(source):
        _, file, nonce, index, goal, submission, fact, packed = match.groups()
        findings = _findings(theory, goal, submission, fact)
        if packed == "true" and (proved := theory.fact(f"{submission}.{fact}")):
            findings += [f"fact {name}" for name in sorted(proved.cites)]
        text = "\n".join([f"STP {nonce} {index} {'refused' if findings else 'proved'}", *findings])
        if file:
            with open(file, "a") as record:  # noqa: PTH123
                record.write(text + "\n\n")
        else:
            theory.say("writeln", text, line)
    elif match := _PREMISES.search(source):
        nonce, index, submission, fact = match.groups()
        uses = sorted(found.uses) if (found := theory.fact(f"{submission}.{fact}")) else []
        broken = [f"STP {nonce} {name} {FACTS[name]}".replace(" = ", " =\n      ") for name in uses]
        theory.say("writeln", "\n".join([f"STP {nonce} {index} premises", *broken]), line)
    elif match := re.search(r'writeln "([^"]*)"', source):
        theory.say("writeln", match[1], line)


#: Set by a test: library theorems of the heap that rest on an oracle.
TAINT: list[str] = []


def _findings(theory: Theory, goal: str, submission: str, name: str) -> list[str]:
    wanted, fact = theory.fact(goal), theory.fact(f"{submission}.{name}")
    if wanted is None:
        return ["not stated"]
    if fact is None:
        return ["no such fact"]
    known = theory.noted[goal.partition(".")[0]]
    added = sorted(axiom for axiom in theory.all_axioms() - known if axiom.startswith(f"{submission}."))
    return [
        *(["statement differs"] if fact.statement != wanted.statement else []),
        *(f"oracle {oracle}" for oracle in sorted(fact.oracles)),
        *(f"axiom {axiom}" for axiom in added),
    ]

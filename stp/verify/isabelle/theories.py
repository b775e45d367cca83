"""The theories of a batch, and what their messages say of its jobs.

For each header there is one theory `H` with its imports and declarations. For each batch on top of it: `S`
states the goals, by `sorry`; theories `P`, beside `S` and not on it, hold the submissions, each its own or a
pack of plain ones; `C` imports all and has the audit report on each job, in a message with a nonce that no
submission ever sees. Names are never used twice: the server refuses the same name again, and none can be
guessed and imported, nor a fact of a pack cited.

Covered: what of a theory's status must hold, whose message counts. A job without its line is not proved, and
a pack can say of a job that it is proved and nothing else.
"""

from __future__ import annotations

import re
import secrets
import uuid
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

from stp.errors import UsageError
from stp.syntax.isabelle import COMMANDS, PROOF_COMMANDS, UNNAMED, split_theorem
from stp.syntax.isabelle_screen import KNOWN, Finding, parse_header, screen
from stp.syntax.isabelle_tokens import Kind, tokens, without_comments
from stp.types import CheckResult, Job, Message, Premise, Verdict

AUDIT = "STP_Audit"
#: Theorems of the library on which most of it rests, looked at when a worker starts.
LIBRARY = (
    "refl", "subst", "ext", "mp", "conjI", "disjE", "nat.induct", "add.commute", "mult.commute",
    "Suc_inject", "append_assoc", "rev_rev_ident", "map_map", "finite_induct", "order.trans", "wf_induct",
    "div_mult_mod_eq",
)  # fmt: skip
#: Sessions whose theories a header may import. The server would find those of any other too, and methods of
#: theirs may run ML: HOL-ex has such.
SESSIONS = frozenset(
    """HOL HOL-Algebra HOL-Analysis HOL-Cardinals HOL-Combinatorics HOL-Complex_Analysis
    HOL-Computational_Algebra HOL-Library HOL-Number_Theory HOL-Probability""".split()  # noqa: SIM905
)
_SKIPPED = "skip_proof"
_UNTOLD = "an error in the submission"
_UNSTATED = Verdict.BAD_STATEMENT, "the statement does not elaborate"
_FACT = re.compile(r"[A-Za-z][A-Za-z0-9_']*")
_SEVERITIES = {"error", "warning"}
#: What gives a statement's parts names or attributes that stay behind the theorem.
_LEAVES_MORE = frozenset({"[", "notes", "defines", "includes", "constrains", "obtains"})


@dataclass(frozen=True, slots=True)
class Submission:
    """What is sent of a job: its goal's signature, the fact that is to prove it, and how."""

    job: Job
    signature: str
    fact: str
    proof: str
    whole: bool = False
    """The proof is a text of its own, with a theorem of that name in it."""
    plain: bool = False
    """It leaves nothing behind but the fact, so that it may share a theory with others."""

    @property
    def text(self) -> str:
        return self.proof if self.whole else f"theorem {self.fact}: {self.signature}\n{self.proof}"

    def hidden(self) -> Submission:
        """The same with a name for the fact that no other submission can cite."""
        return replace(self, fact=f"fact_{secrets.token_hex(16)}")


@dataclass(frozen=True, slots=True)
class Header:
    """The theory `H` of a header and, once it is loaded, the commands that are known there."""

    name: str
    imports: tuple[str, ...]
    declarations: str
    commands: frozenset[str] = KNOWN
    error: str = ""

    def theory(self) -> str:
        imports = " ".join(f'"{name}"' for name in self.imports)
        return f"theory {self.name}\n  imports {imports}\nbegin\n{self.declarations}\nend\n"


@dataclass(frozen=True, slots=True)
class TheoryBatch:
    """Some submissions on one header, those of a pack in one theory, and the names and the nonce of their
    theories. In a pack of several, each must be plain and hidden."""

    header: Header
    packs: Sequence[Sequence[Submission]]
    stem: str = field(default_factory=lambda: f"T{uuid.uuid4().hex}")
    nonce: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def spec(self) -> str:
        return f"{self.stem}_S"

    @property
    def check(self) -> str:
        return f"{self.stem}_C"

    @property
    def proofs(self) -> list[str]:
        """The name of each pack's theory."""
        return [f"{self.stem}_P{i}" for i in range(len(self.packs))]

    @property
    def names(self) -> list[str]:
        """Of all theories of the batch."""
        return [self.spec, *self.proofs, self.check]

    @property
    def submissions(self) -> list[Submission]:
        """Of all packs; the index in this list is what the audit calls a job."""
        return [submission for pack in self.packs for submission in pack]

    @property
    def places(self) -> list[tuple[str, Sequence[Submission], int]]:
        """Of each submission the name of its theory, its pack and its index in that."""
        named = zip(self.proofs, self.packs, strict=True)
        return [(name, pack, at) for name, pack in named for at in range(len(pack))]

    def theories(self, record: str | None = None) -> dict[str, str]:
        """Each theory's text by its name. With `record`, the audit writes that file and no messages."""
        spec = self.spec
        goals = "".join(
            f"theorem goal{i}: {submission.signature}\n  sorry\n"
            for i, submission in enumerate(self.submissions)
        )
        texts = {
            spec: f"theory {spec}\n  imports {AUDIT} {self.header.name}\nbegin\n"
            f'setup \\<open>STP_Audit.note "{spec}"\\<close>\n{goals}end\n'
        }
        for name, pack in zip(self.proofs, self.packs, strict=True):
            held = "\n".join(submission.text for submission in pack)
            texts[name] = f"theory {name} imports {self.header.name} begin\n{held}\nend\n"
        audit = f"STP_Audit.record {_ml(record)}" if record else "STP_Audit.report"
        asked = premises = ""
        for i, (name, pack, at) in enumerate(self.places):
            fact, packed = f"{_ml(name)}, {_ml(pack[at].fact)}", "true" if len(pack) > 1 else "false"
            asked += (
                f"ML \\<open>{audit} {_ml(self.nonce)} @{{theory}} stp_axioms stp_submissions "
                f'("{i}", "{spec}.goal{i}", {fact}, {packed})\\<close>\n'
            )
            if pack[at].job.premises and not record:
                premises += (
                    f'ML \\<open>STP_Audit.premises {_ml(self.nonce)} @{{theory}} ("{i}", {fact})\\<close>\n'
                )
        texts[self.check] = (
            f"theory {self.check}\n  imports {AUDIT} {spec} {' '.join(self.proofs)}\nbegin\n"
            f"ML \\<open>\nval stp_axioms = STP_Audit.fresh @{{theory}} {_ml(spec)};\n"
            f"val stp_submissions = {_ml_list(self.proofs)};\n\\<close>\n{asked}{premises}end\n"
        )
        return texts


def prepare(job: Job, header: Header) -> Submission | Finding:
    """The submission of a job, or why it may not be sent.

    The proof is what follows the statement, or a text of its own that begins with a lemma or a theorem: then
    it must hold a theorem of the statement's name, and lemmas may stand beside it.
    """
    try:
        theorem = split_theorem(job.statement)
    except UsageError as error:
        return Verdict.BAD_STATEMENT, str(error)
    if theorem.proof is not None:
        return Verdict.BAD_STATEMENT, "the statement has a proof"
    fact = theorem.name or UNNAMED
    if not _FACT.fullmatch(fact):
        return Verdict.BAD_STATEMENT, f"expected a name of plain letters and digits, found {fact!r}"
    if fact in KNOWN | header.commands | {"begin"}:
        return Verdict.BAD_STATEMENT, f"expected a name that is no command, found {fact!r}"
    if finding := screen(theorem.signature, frozenset(), header.commands):
        return Verdict.BAD_STATEMENT, f"statement: {finding[1]}"
    if finding := screen(job.proof, commands=header.commands):
        return finding
    proof = without_comments(job.proof)
    first = next(tokens(proof), None)
    signature = without_comments(theorem.signature)
    if first is None:
        return Verdict.INCOMPLETE, "no proof"
    if first.text in COMMANDS | {"lemmas", "declare"}:
        return Submission(job, signature, fact, proof, whole=True)
    proves = first.text in PROOF_COMMANDS and not screen(proof, PROOF_COMMANDS, header.commands)
    return Submission(job, signature, fact, proof, plain=proves and _names_nothing(signature))


def _names_nothing(signature: str) -> bool:
    """Has the statement one conclusion, without a name or an attribute of its own? The names of what it fixes
    and assumes end with its proof."""
    *before, last = tokens(signature)
    single = not before or before[-1].text == "shows"
    return single and last.kind is Kind.STRING and not _LEAVES_MORE & {token.text for token in before}


def make_header(header: str, session: str = "HOL") -> Header:
    """The theory of a header, for that session's heap.

    Raises:
        UsageError: no such header, or a command in it that no header may use, or a theory of a session that
            is not known to bring no method that runs ML.
    """
    imports, declarations = parse_header(header)
    for name in imports:
        of = name.rpartition(".")[0]
        if name == AUDIT or (of and of not in SESSIONS | {session}):
            raise UsageError(
                f"header: expected imports of the session {session} or of {', '.join(sorted(SESSIONS))}, "
                f"found {name}; another session can be verify.session"
            )
    return Header(f"H{uuid.uuid4().hex}", imports, without_comments(declarations))


def probe(header: Header, nonce: str, *, heap: bool) -> tuple[str, str]:
    """Name and text of a theory that reports the commands known behind a header, and, with `heap`, which
    theorems of the library rest on an oracle."""
    name = f"K{uuid.uuid4().hex}"
    asked = f"ML \\<open>STP_Audit.commands {_ml(nonce)} @{{theory}}\\<close>\n"
    if heap:
        asked += f"ML \\<open>STP_Audit.taint {_ml(nonce)} @{{theory}} {_ml_list(LIBRARY)}\\<close>\n"
    return name, f"theory {name}\n  imports {AUDIT} {header.name}\nbegin\n{asked}end\n"


def nodes_of(result: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The nodes of a result by the theory's name, without the session's."""
    nodes = result.get("nodes")
    if not isinstance(nodes, list):
        return {}
    return {
        str(node.get("theory_name", "")).rpartition(".")[2]: node for node in nodes if isinstance(node, dict)
    }


def settled(node: Mapping[str, Any] | None, *, failures: bool = False) -> bool:
    """Is the theory through, all of it, and, unless `failures` may be, without an error? `ok` alone says
    nothing: a server that waited long enough says it of a theory that still runs."""
    status = node.get("status") if node else None
    if not isinstance(status, dict):
        return False
    through = (
        status.get("consolidated") is True
        and status.get("percentage") == 100
        and status.get("canceled") is False
        and status.get("running") == 0
        and status.get("unprocessed") == 0
    )
    return through and (failures or (status.get("failed") == 0 and status.get("ok") is True))


def said(node: Mapping[str, Any] | None, nonce: str) -> dict[str, list[str]]:
    """The audit's lines in a theory's messages: what follows the nonce, and the lines below it."""
    messages = (node or {}).get("messages", [])
    return said_in([str(one.get("message", "")) for one in messages if one.get("kind") == "writeln"], nonce)


def said_in(blocks: Iterable[str], nonce: str) -> dict[str, list[str]]:
    """The same in texts, one a message."""
    found: dict[str, list[str]] = {}
    for block in blocks:
        first, *more = block.split("\n")
        if first.startswith(f"STP {nonce} "):
            found[first.removeprefix(f"STP {nonce} ")] = more
    return found


def results(
    batch: TheoryBatch, answer: Mapping[str, Any], digest: str, note: str
) -> Iterator[CheckResult | None]:
    """The result of each job of a batch; None where nothing can be said: it must be run again."""
    nodes = nodes_of(answer)
    check, spec = nodes.get(batch.check), nodes.get(batch.spec)
    whole = settled(check, failures=True) and settled(spec, failures=True)
    lines = said(check, batch.nonce) if whole else {}
    messages_of = {
        name: _messages(nodes.get(name), pack) for name, pack in zip(batch.proofs, batch.packs, strict=True)
    }
    for i, (name, pack, at) in enumerate(batch.places):
        node, messages, shared = nodes.get(name), messages_of[name][at], len(pack) > 1
        error = next(_errors(messages), "")
        told = shared and any(next(_errors(mine), "") for mine in messages_of[name])
        finding = verdict(lines, str(i), error or ("" if settled(node) or told else _UNTOLD))
        if finding is None and len(batch.submissions) == 1 and error and settled(spec, failures=True):
            # What fails so that no audit can import it is still no proof.
            finding = (Verdict.REJECTED, error) if settled(spec) else _UNSTATED
        proved = finding is not None and finding[0] is Verdict.PROVED
        if finding is None or not settled(node, failures=True) or (shared and not proved):
            yield None
            continue
        reason = "; ".join(filter(None, (finding[1], note)))
        premises = tuple(_premises(lines.get(f"{i} premises", []), batch.nonce)) if proved else ()
        yield CheckResult(pack[at].job.id, finding[0], reason, messages, premises=premises, toolchain=digest)


def _errors(messages: Iterable[Message]) -> Iterator[str]:
    """What to say of each error: its first line, if there is something in it."""
    return (m.text.partition("\n")[0] or _UNTOLD for m in messages if m.severity == "error")


def _premises(lines: Sequence[str], nonce: str) -> Iterator[Premise]:
    """Facts of other theories that a proof rests on, of the lines below the audit's `premises`; the module is
    the theory's name."""
    mark = f"STP {nonce} "
    for entry in "\n".join(lines).split(mark)[1:]:
        name, _, stated = " ".join(entry.split()).partition(" ")
        yield Premise(name, name.partition(".")[0], f'{name}: "{stated}"')


def verdict(lines: Mapping[str, list[str]], index: str, error: str) -> Finding | None:
    """What the audit's lines say of one job; `error` is the first one in the submission's theory, if any."""
    if lines.get(f"{index} proved") == []:
        return (Verdict.REJECTED, error) if error else (Verdict.PROVED, "")
    reasons = lines.get(f"{index} refused")
    if reasons is None:
        return None
    if "not stated" in reasons:
        return _UNSTATED
    if "no such fact" in reasons:
        return Verdict.REJECTED, error or "the theorem was not proved"
    skipped = [r for r in reasons if r.startswith("oracle ") and r.rpartition(".")[2].endswith(_SKIPPED)]
    if skipped and len(skipped) == len(reasons):
        return Verdict.INCOMPLETE, reasons[0]
    return Verdict.CHEATED, "; ".join(reasons)


def _messages(node: Mapping[str, Any] | None, pack: Sequence[Submission]) -> list[tuple[Message, ...]]:
    """The theory's messages by submission, their places in its text. The first text begins on the second
    line. A message belongs to the text in which, or behind which, it stands; one without a place to all."""
    lengths = [submission.text.count("\n") + 1 for submission in pack]
    before = [*accumulate(lengths[:-1], initial=1)]
    found: list[list[Message]] = [[] for _ in pack]
    for message in (node or {}).get("messages", []):
        severity = str(message.get("kind"))
        if severity not in _SEVERITIES:
            continue
        words = re.sub(r"\\<\^here>|⌂", "", str(message.get("message", "")))
        line = (message.get("pos") or {}).get("line")
        owner = max(0, bisect_left(before, line) - 1) if isinstance(line, int) else None
        for i in range(len(pack)) if owner is None else [owner]:
            at = line - before[i] if isinstance(line, int) and 0 < line - before[i] <= lengths[i] else 0
            found[i].append(Message(severity, at, 0, at, 0, words))
    return [tuple(messages) for messages in found]


def _ml(text: str) -> str:
    """An ML string of plain characters."""
    if not re.fullmatch(r"[A-Za-z0-9_.'/+,@ \-]+", text):
        raise UsageError(f"no name for Isabelle: {text!r}")
    return f'"{text}"'


def _ml_list(names: Sequence[str]) -> str:
    return f"[{', '.join(map(_ml, names))}]"

"""What is claimed of Isabelle's `Main`: enough, different, and nothing that the screening would refuse."""

from __future__ import annotations

import re
from collections import Counter

from stp.datasets.isabelle_main import LEAST, side_of
from stp.datasets.isabelle_templates import claims
from stp.syntax.isabelle import make_statement
from stp.types import Job, Source, System
from stp.verify.isabelle.theories import Submission, make_header, prepare


def test_claims_are_many_and_may_be_sent_to_isabelle() -> None:
    header = make_header("")
    statements = [(make_statement(text, "", Source.SEED), proof) for text, proof in claims()]
    jobs = [Job(s.key, "", s.text, proof, System.ISABELLE) for s, proof in statements]
    refused = [(job, found) for job in jobs if not isinstance(found := prepare(job, header), Submission)]
    assert refused == []
    sides = Counter(side_of(key) for key in {s.key for s, _ in statements})
    assert sum(sides.values()) >= 2 * LEAST >= 800, "half of them may fail"
    assert sides["seed"] > sides["train"] > sides["test"] > 50
    assert len({s.name for s, _ in statements}) == len(statements)
    assert not [s.text for s, proof in statements if re.search(r"\{[ijmc]\}", s.text + proof)], "a template"

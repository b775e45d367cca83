"""`stp bench gpu` with sizes for a CPU: the same code, no claim about speed."""

import pytest

from stp.bench.gpu import Line, Sizes, run
from stp.errors import UsageError
from stp.settings import TinySettings

SMALL = TinySettings(vocabulary=300, hidden=64, layers=2, heads=4, context_tokens=1024)


def test_without_a_gpu_it_says_so() -> None:
    with pytest.raises(UsageError, match="no GPU"):
        run()


def test_every_line_is_measured_and_the_verdict_printed(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = Sizes(
        sampled=SMALL,
        trained=SMALL,
        prompts=2,
        samples=2,
        tokens=8,
        examples=4,
        batch=2,
        tokens_per_pass=2000,
    )
    lines = run(sizes)
    assert all(line.value > 0 for line in lines)
    printed = capsys.readouterr().out
    assert "training, 0 M parameters" in printed
    reached = all(line.must is None or line.value >= line.must for line in lines)
    assert printed.splitlines()[-1] == f"verdict: {'PASS' if reached else 'FAIL'}"


def test_a_line_says_what_it_must_reach() -> None:
    assert str(Line("x", 0.4, "", 0.45)).endswith("FAIL (≥ 0.45)")
    assert str(Line("x", 0.5, "", 0.45)).endswith("PASS (≥ 0.45)")

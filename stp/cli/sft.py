"""`stp sft`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def sft(
    model: Annotated[Path, typer.Argument(help="The pretrained model: a Hugging Face folder.")],
    out: Annotated[Path, typer.Argument(help="The folder to write.")],
    config: Annotated[str, typer.Option(help="A preset or a TOML file; model and train count.")] = "gpu",
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Seeds of `stp data trace` or a published corpus, instead of what comes with STP."),
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="section.key=value")] = None,
) -> None:
    """Teach a pretrained model both roles, before round 1; killed, the same command goes on."""
    from stp.selfplay.seed_model import first_training
    from stp.settings import load

    report = first_training(model, out, load(config, set_), data or [])
    print(
        f"{out}: {report.steps} steps, {report.tokens} tokens, loss {report.loss:.3f}, {report.seconds:.0f} s"
    )
    if report.too_long:
        print(f"{report.too_long} examples are longer than the context and were left out")

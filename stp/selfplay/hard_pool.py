"""A hard pool: statements that neither the portfolio nor the seed model proves."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from random import Random

from stp.datasets.corpora import corpora
from stp.files import write_file
from stp.models.prompts import two_roles
from stp.search.evaluate import proved_by_portfolio
from stp.search.sample import Draws, Prover, attempt
from stp.selfplay.needs import require_provers
from stp.selfplay.seed_model import seed_model
from stp.selfplay.seeds import own_seeds
from stp.settings import Settings
from stp.store.store import Store
from stp.verify.pool import default_cache, open_pools

#: Of the seed model. What it proves in so many, it need not learn.
_SAMPLES = 64


def build(path: Path, settings: Settings, candidates: int) -> None:
    """Tries so many statements of `data.dataset` (0: all) and the open ones of `data.benchmarks`, none that
    has a seed proof; writes the keys of those that no portfolio member proves, and the seed model in none of
    64 attempts.

    Killed, it begins again, with the checks made so far in the result cache.
    """
    from stp.models.backend import open_generator

    require_provers(settings)
    chosen = corpora(settings.data)
    style, model = two_roles(settings.model), settings.model
    systems = [corpus.system for corpus in chosen]
    with (
        open_pools(settings.verify, systems, cache=default_cache()) as pool,
        Store() as store,
        closing(open_generator(model, seed_model(model))) as generator,
    ):
        seeds = {
            seed.statement.key for corpus in chosen for seed in own_seeds(corpus, lambda: pool, settings)
        }
        found = [s for corpus in chosen for s in corpus.unproved(settings.data.benchmarks)[0]]
        unproved = [s for s in found if s.key not in seeds]
        sides = {s.key for corpus in chosen for s in corpus.sides()[0]}
        own = [s for s in unproved if s.key in sides]
        drawn = Random(settings.seed).sample(own, min(candidates or len(own), len(own)))
        drawn += [s for s in unproved if s.key not in sides]
        prover = Prover(generator, style, pool, model, settings.verify)
        tried = sorted(drawn, key=lambda s: s.key)
        easy = proved_by_portfolio(prover, tried)
        hard = [s for s in tried if s.key not in easy]
        store.add_statements(hard, 0, "train")
        attempt(store, prover, 0, "evaluate", hard, Draws(_SAMPLES, 1.0, settings.seed))
        proved = {key for key, tally in store.tallies(0, "evaluate").items() if tally.proved}
    keys = [s.key for s in hard if s.key not in proved]
    write_file(path, "".join(f"{key}\n" for key in keys))

"""Generators side by side: Ray actors, each with a model and GPUs of its own.

Prompts are dealt out in small parts to whoever is free. A part whose actor is lost, with its node or alone,
goes to another: a sample is a function of (seed, prompt, index), so who writes it changes nothing. A lost
actor is made again where the cluster has room; its parts do not wait for that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stp.errors import MachineryError, StpError
from stp.models.backend import open_generator
from stp.models.base import Generator, Sample
from stp.models.prompts import Prompt
from stp.settings import ModelSettings

_LOSSES = 3
_PLACE_S = 600.0
_CLOSE_S = 20.0


class Replica:
    """What one actor does. Its generator is opened by the first call, whose caller is told what is wrong."""

    def __init__(self, settings: ModelSettings, folder: Path) -> None:
        self._settings, self._folder = settings.model_copy(update={"replicas": 0}), folder
        self._generator: Generator | None = None

    def use(self, folder: Path) -> None:
        """See `Generator.use`."""
        self._folder = folder
        if self._generator:
            self._generator.use(folder)
        else:
            self._generator = open_generator(self._settings, folder)

    def close(self) -> None:
        """See `Generator.close`."""
        if self._generator:
            self._generator.close()

    def call(self, name: str, *arguments: Any, **options: Any) -> Any:
        """The generator's method of that name."""
        if self._generator is None:
            self.use(self._folder)
        return getattr(self._generator, name)(*arguments, **options)


class Fleet:
    """`Generator` over `model.replicas` actors. Ray is the caller's to start; every node sees the folder."""

    def __init__(self, settings: ModelSettings, folder: Path) -> None:
        self._settings, self._folder = settings, folder
        self._actors: list[Any] = [self._make() for _ in range(settings.replicas)]
        self.use(folder)

    def use(self, folder: Path) -> None:
        """See `Generator.use`."""
        self._folder = folder
        self._each(lambda actor: actor.use.remote(folder))

    def release(self) -> None:
        """See `Generator.release`."""
        self._each(lambda actor: actor.call.remote("release"))

    def close(self) -> None:
        """See `Generator.close`."""
        import ray

        if self._actors:  # each ends its engine's processes, or, where it cannot, is ended with them
            ray.wait(
                [a.close.remote() for a in self._actors], num_returns=len(self._actors), timeout=_CLOSE_S
            )
        for actor in self._actors:
            ray.kill(actor)
        self._actors = []

    def generate(
        self, prompts: Sequence[Prompt], *, n: int, temperature: float, max_tokens: int, seed: int
    ) -> list[list[Sample]]:
        """See `Generator.generate`."""
        how = {"n": n, "temperature": temperature, "max_tokens": max_tokens, "seed": seed}
        size = max(1, self._settings.batch_size // n)
        return self._share(prompts, size, lambda actor, part: actor.call.remote("generate", part, **how))

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Generator.embed`."""
        size = max(1, -(-len(texts) // len(self._actors)))
        rows = self._share(texts, size, lambda actor, part: actor.call.remote("embed", part))
        return np.stack(rows) if rows else _settle(self._actors[0].call.remote("embed", []))

    def _share(self, items: Sequence[Any], size: int, ask: Callable[[Any, list[Any]], Any]) -> list[Any]:
        """What `ask` gives for each item, in their order, asked for in parts of `size`."""
        import ray

        answers: list[Any] = [None] * len(items)
        todo = deque(range(0, len(items), size))
        asked: dict[Any, tuple[Any, int]] = {}  # what an actor was asked, and where that part begins
        starting: dict[Any, Any] = {}
        free, losses = list(self._actors), 0
        while todo or asked:
            while free and todo:
                actor, first = free.pop(), todo.popleft()
                asked[ask(actor, list(items[first : first + size]))] = (actor, first)
            [done], _ = ray.wait([*asked, *starting], num_returns=1)
            if done in starting:
                free.append(starting.pop(done))
                continue
            actor, first = asked.pop(done)
            try:
                part = _settle(done)
                answers[first : first + len(part)] = part
                free.append(actor)
            except ray.exceptions.RayActorError as error:
                losses += 1
                if losses > _LOSSES * len(self._actors):
                    raise MachineryError(
                        f"generators were lost {losses} times in one call: {error}"
                    ) from None
                todo.appendleft(first)
                renewed = self._renew(actor)
                starting[renewed.__ray_ready__.remote()] = renewed
        return answers

    def _each(self, ask: Callable[[Any], Any]) -> None:
        """Asks every actor. One that is lost is made again, with the folder in use."""
        import ray

        asked = {ask(actor): actor for actor in self._actors}
        done, late = ray.wait(list(asked), num_returns=len(asked), timeout=_PLACE_S)
        if late:
            raise MachineryError(
                f"{len(late)} of {len(asked)} generators are not ready after {_PLACE_S:.0f} s; "
                f"the cluster has {_resources()}: set fewer model.replicas, or add nodes"
            )
        for answer in done:
            try:
                _settle(answer)
            except ray.exceptions.RayActorError:
                self._renew(asked[answer])

    def _make(self) -> Any:
        import ray

        gpus = self._settings.gpus if ray.cluster_resources().get("GPU") else 0
        # No core of its own: the checkers take all there are. SPREAD, or the first node would get them all.
        actor = ray.remote(num_cpus=0, num_gpus=gpus, max_restarts=0, scheduling_strategy="SPREAD")(Replica)
        return actor.remote(self._settings, self._folder)

    def _renew(self, lost: Any) -> Any:
        self._actors[self._actors.index(lost)] = renewed = self._make()
        return renewed


def _settle(answer: Any) -> Any:
    """The answer, or the error of ours that the actor raised."""
    import ray

    try:
        return ray.get(answer)
    except ray.exceptions.RayTaskError as error:
        raise (error.cause if isinstance(error.cause, StpError) else error) from None


def _resources() -> str:
    import ray

    found = ray.cluster_resources()
    return ", ".join(f"{found.get(kind, 0):.0f} {kind}s" for kind in ("CPU", "GPU"))

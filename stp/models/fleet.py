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

from stp.cluster import answer_of, start_ray
from stp.errors import MachineryError, UsageError
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
    """`Generator` over `model.replicas` actors, or as many as the cluster's GPUs are enough for. Every node
    sees the folder.

    Raises:
        UsageError: the cluster has GPUs, but too few for one engine.
    """

    def __init__(self, settings: ModelSettings, folder: Path) -> None:
        start_ray()
        self._settings, self._gpus = settings, settings.gpus
        replicas, found = settings.replicas, _gpus_found()
        if not found:  # on the cores
            self._gpus = 0
        elif not (room := sum(gpus // self._gpus for gpus in found)):
            raise UsageError(
                f"model.gpus: an engine is to have {self._gpus} GPUs of one node, and the cluster's nodes "
                f"have {', '.join(map(str, found))}: set fewer, or add nodes"
            )
        else:
            replicas = min(replicas, room)
        self._folder = folder.absolute()
        self._actors: list[Any] = [self._make() for _ in range(replicas)]
        self._starting: dict[Any, Any] = {}
        """Actors in the place of lost ones, by what says that they are there, which may take long."""
        self.use(folder)

    def use(self, folder: Path) -> None:
        """See `Generator.use`."""
        self._folder = folder.absolute()
        self._each(lambda actor: actor.use.remote(self._folder))

    def release(self) -> None:
        """See `Generator.release`."""
        self._each(lambda actor: actor.call.remote("release"))

    def close(self) -> None:
        """See `Generator.close`."""
        import ray

        if ready := self._ready():  # each ends its engine's processes, or is ended with them
            ray.wait([actor.close.remote() for actor in ready], num_returns=len(ready), timeout=_CLOSE_S)
        for actor in self._actors:
            ray.kill(actor)
        self._actors = []

    def generate(
        self, prompts: Sequence[Prompt], *, n: int, temperature: float, max_tokens: int, seed: int
    ) -> list[list[Sample]]:
        """See `Generator.generate`."""
        how = {"n": n, "temperature": temperature, "max_tokens": max_tokens, "seed": seed}
        # Two parts for each: one that is at its end has few slots busy, one that is lost costs all of it.
        size = max(1, self._settings.batch_size // n, len(prompts) // (2 * len(self._actors)))
        return self._share(prompts, size, lambda actor, part: actor.call.remote("generate", part, **how))

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Generator.embed`."""
        size = max(1, -(-len(texts) // len(self._actors)))
        rows = self._share(texts or [""], size, lambda actor, part: actor.call.remote("embed", part))
        return np.stack(rows)[: len(texts)]

    def _share(self, items: Sequence[Any], size: int, ask: Callable[[Any, list[Any]], Any]) -> list[Any]:
        """What `ask` gives for each item, in their order, asked for in parts of `size`."""
        import ray

        answers: list[Any] = [None] * len(items)
        todo = deque(range(0, len(items), size))
        asked: dict[Any, tuple[Any, int]] = {}  # what an actor was asked, and where that part begins
        first: int | None
        free, losses = self._ready(), 0
        while todo or asked:
            while free and todo:
                actor, at = free.pop(), todo.popleft()
                asked[ask(actor, list(items[at : at + size]))] = (actor, at)
            done, _ = ray.wait([*asked, *self._starting], timeout=None if asked else _PLACE_S)
            if not done:
                raise MachineryError(f"no generator is left, and none found a place in {_PLACE_S:.0f} s")
            if done[0] in self._starting:
                actor, first = self._starting.pop(done[0]), None
            else:
                actor, first = asked.pop(done[0])
            try:
                part = answer_of(done[0])
                if first is not None:
                    answers[first : first + len(part)] = part
                free.append(actor)
            except ray.exceptions.RayActorError as error:
                losses += 1
                if losses > _LOSSES * len(self._actors):
                    raise MachineryError(
                        f"generators were lost {losses} times in one call: {error}"
                    ) from None
                if first is not None:
                    todo.appendleft(first)
                self._renew(actor)
        return answers

    def _each(self, ask: Callable[[Any], Any]) -> None:
        """Asks every actor. One that is lost is made again, with the folder in use; one that is not there yet
        will do it first."""
        import ray

        for actor in self._starting.values():
            ask(actor)
        asked = {ask(actor): actor for actor in self._ready()}
        if not asked:
            return
        done, late = ray.wait(list(asked), num_returns=len(asked), timeout=_PLACE_S)
        if late:
            raise MachineryError(
                f"{len(late)} of {len(asked)} generators are not ready after {_PLACE_S:.0f} s; "
                f"the cluster has {_gpus_found()} GPUs, {self._gpus} for each: what else uses them?"
            )
        for answer in done:
            try:
                answer_of(answer)
            except ray.exceptions.RayActorError:
                self._renew(asked[answer])

    def _make(self) -> Any:
        import ray

        # No core of its own: the checkers take all there are. SPREAD, or the first node would get them all.
        actor = ray.remote(
            num_cpus=0, num_gpus=self._gpus, max_restarts=0, scheduling_strategy="SPREAD"
        )(Replica)  # fmt: skip
        return actor.remote(self._settings, self._folder)

    def _ready(self) -> list[Any]:
        return [actor for actor in self._actors if actor not in self._starting.values()]

    def _renew(self, lost: Any) -> None:
        self._actors[self._actors.index(lost)] = renewed = self._make()
        self._starting[renewed.__ray_ready__.remote()] = renewed


def _gpus_found() -> list[int]:
    """Of each node that has some."""
    import ray

    found = [int(node["Resources"].get("GPU", 0)) for node in ray.nodes() if node["Alive"]]
    return [gpus for gpus in found if gpus]

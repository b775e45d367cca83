"""The folder of a run and the settings it goes on with."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from stp.errors import StoreError, UsageError
from stp.settings import PLACEMENT, Settings, with_later_keys
from stp.store.metadata import metadata
from stp.store.store import Store


def make_folder(folder: Path) -> None:
    """Makes the folder of a run.

    Raises:
        StoreError: it cannot be made.
    """
    try:
        (folder / "models").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"{folder}: cannot make the run's folder: {error.strerror}; choose another RUN"
        ) from None


def model_dir(folder: Path, number: int, is_trained: bool) -> Path:
    """The folder of the model that a round ended with; a run that never trains has the seed model alone."""
    return folder / "models" / f"round-{number if is_trained else 0}"


def settle(store: Store, folder: Path, settings: Settings) -> None:
    """Writes the settings of a new run; refuses to go on with others, but for where its work is done.

    Raises:
        UsageError: the run began with other settings; names them. Or it is a proof search.
    """
    if store.meta("prove") is not None:
        raise UsageError(f"{folder}: a search of stp prove is there; choose another RUN")
    values = settings.model_dump(mode="json")
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
    began = store.meta("settings")
    if began is not None and (began := with_later_keys(began)) != values:
        changed = [
            f"{section}.{key}: began with {began.get(section, {}).get(key)!r}, now {value!r}"
            for section, keys in values.items()
            if isinstance(keys, dict)
            for key, value in keys.items()
            if f"{section}.{key}" not in PLACEMENT
            and (not isinstance(began.get(section), dict) or began[section].get(key) != value)
        ]
        if began.get("seed") != values["seed"]:
            changed.append(f"seed: began with {began.get('seed')!r}, now {values['seed']!r}")
        if changed:
            raise UsageError(
                f"{folder}: the run began with other settings ({'; '.join(changed)}); go on with those, or "
                "choose another RUN"
            )
    with store.atomic():
        store.set_meta("settings", values)
        store.set_meta("settings_digest", digest)
        store.set_meta("band_high", settings.select.band_high)
    for name, content in (("settings", {"digest": digest, **values}), ("metadata", metadata(folder.name))):
        (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")

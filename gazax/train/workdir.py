"""The folder that is the only state of a run: whose it is, and how it ended."""

import json
import math
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from etils import epath

import gazax
from gazax.config import flatten, with_later_keys
from gazax.train.files import write_text
from gazax.typing import InputError

FREE_ON_RESUME = (
    "data.root",
    "data.cache",
    "data.num_threads",
    "data.num_workers",
    "eval.batch_size",
    "eval.overlays",
    "train.checkpoint_every",
    "train.epochs",
    "train.eval_every",
    "train.fsdp",
    "train.keep",
    "train.log_every",
    "train.parallel",
    "train.patience",
    "train.profile",
    "train.steps",
)
"""Keys, or beginnings of keys, that may differ when a run is taken up again."""

WHERE_WEIGHTS_LIE = ("init_from.path", "init_from.which")
"""Free as well where the weights themselves are compared."""

WHERE_GAZE_IS_PREDICTED = "data.gaze"
"""A key, free as well where the weights that predict are compared."""

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def write_json(path: epath.Path, value: Any) -> None:
    """Writes beside and renames, so that a kill leaves the old file or the new one."""
    text = json.dumps(_finite(value), indent=2, default=list, allow_nan=False)
    write_text(path, f"{text}\n")


def _finite(value: Any) -> Any:
    """NaN and infinity as null: JSON has neither."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def check_claim(
    workdir: epath.Path,
    config: Mapping[str, Any],
    data_fingerprint: str,
    weights_fingerprint: str | None = None,
    gaze_fingerprint: str | None = None,
) -> None:
    """Checks that the folder is new, empty, or holds a run of the same config.

    Args:
      workdir: nothing is written to it.
      config: resolved, nested.
      data_fingerprint: of the prepared records; other records are another run.
      weights_fingerprint: of the weights that the run begins with, None for random ones. The same
        weights may lie elsewhere on resume.
      gaze_fingerprint: of the weights that predict its training gaze, None for none; likewise.

    Raises:
      InputError: the folder holds a run of another config (the keys that differ are listed),
        other files, or is not a folder.
    """
    path = workdir / "config.json"
    if not workdir.exists():
        return
    if not workdir.is_dir():
        raise InputError(f"workdir '{workdir}' is a file; give a folder.")
    if not path.exists():
        if any(not found.name.endswith(".partial") for found in workdir.iterdir()):
            raise InputError(
                f"workdir '{workdir}' is not empty and has no config.json: it is not a run of "
                "gazax. Give another --workdir."
            )
        return
    before = read_config(workdir)
    free = FREE_ON_RESUME + (WHERE_WEIGHTS_LIE if weights_fingerprint else ())
    differing = [
        text
        for key, text in _differences(
            with_later_keys(before["config"]), with_later_keys(config)
        ).items()
        if not key.startswith(free) and not (gaze_fingerprint and key == WHERE_GAZE_IS_PREDICTED)
    ]
    if before["data_fingerprint"] != data_fingerprint:
        differing.append(
            f"data: {before['data_fingerprint']} there, {data_fingerprint} now "
            "(its files have changed)"
        )
    weights = before.get("weights_fingerprint")
    if weights != weights_fingerprint:
        differing.append(
            f"init_from: weights {weights} there, {weights_fingerprint} now "
            "(the run they come from has gone on, or the file has changed)"
        )
    predicts = before.get("gaze_fingerprint")
    if predicts != gaze_fingerprint:
        differing.append(
            f"data.gaze: predicted by weights {predicts} there, {gaze_fingerprint} now "
            "(the run that predicts it has gone on, or is another)"
        )
    if differing:
        raise InputError(
            f"workdir '{workdir}' belongs to a run with another config:\n  "
            + "\n  ".join(differing)
            + "\nGive another --workdir, or the same config to go on."
        )


def claim(
    workdir: epath.Path,
    config: Mapping[str, Any],
    data_fingerprint: str,
    weights_fingerprint: str | None = None,
    gaze_fingerprint: str | None = None,
) -> None:
    """Makes the folder this config's, after `check_claim`: writes `config.json`, with versions."""
    check_claim(workdir, config, data_fingerprint, weights_fingerprint, gaze_fingerprint)
    versions = {name: metadata.version(name) for name in PACKAGES}
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        write_json(
            workdir / "config.json",
            {
                "config": _plain(config),
                "data_fingerprint": data_fingerprint,
                "weights_fingerprint": weights_fingerprint,
                "gaze_fingerprint": gaze_fingerprint,
                "versions": {"gazax": gazax.__version__, **versions},
            },
        )
    except OSError as error:
        raise InputError(f"workdir '{workdir}' cannot be written: {error}.") from None


def check_shared(workdir: epath.Path) -> None:
    """Refuses a workdir that the first process sees, after its `claim`, and this one does not.

    Raises:
      InputError: there is no `config.json` here.
    """
    if not (workdir / "config.json").exists():
        raise InputError(
            f"this process sees no workdir '{workdir}', which process 0 has just made: give a "
            "--workdir that all hosts share, a bucket or a network disk."
        )


def read_json(path: epath.Path) -> dict[str, Any]:
    """An object that `write_json` wrote; a damaged file is an `InputError`."""
    try:
        found = json.loads(path.read_bytes())
        if not isinstance(found, dict):
            raise ValueError("it holds no object")
        return found
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(
            f"'{path}' is damaged ({error}); what it belongs to has to be made again, or give "
            "another folder."
        ) from None


def _plain(config: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(config, default=list))


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """Key -> what it is on either side, of the keys that differ."""
    there, here = dict(flatten(before)), dict(flatten(_plain(now)))
    absent = object()
    return {
        key: f"{key}: {there.get(key, 'absent')!r} there, {here.get(key, 'absent')!r} now"
        for key in sorted({*there, *here})
        if there.get(key, absent) != here.get(key, absent)
    }


def read_config(workdir: epath.Path) -> dict[str, Any]:
    """What `claim` wrote: `config`, `data_fingerprint` and `versions`."""
    path = workdir / "config.json"
    found = read_json(path)
    if not isinstance(found.get("config"), dict) or "data_fingerprint" not in found:
        raise InputError(f"'{path}' is not a config of gazax; give another --workdir.")
    return found


def read_summary(workdir: epath.Path) -> dict[str, Any] | None:
    """What a finished run wrote last, or None."""
    path = workdir / "summary.json"
    return read_json(path) if path.exists() else None

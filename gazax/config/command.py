"""How a command begins and ends: its flags, its config, its errors as lines."""

import ast
import contextlib
import errno
import os
import pathlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from absl import app, flags
from absl import logging as absl_logging
from ml_collections import ConfigDict, config_flags

from gazax.config.arguments import did_you_mean, flatten, load
from gazax.typing import InputError, RunError

OF_THE_DISK = (
    errno.EACCES,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.ENOSPC,
    errno.EPERM,
    errno.EROFS,
    errno.ESTALE,
)
"""What a system says of a disk that is full, closed, broken or away: no mistake in the code."""

_BUCKET = re.compile(r"^(Please i|I)nstall \w+ to access ")
"""How fsspec asks for the library that a bucket is reached by."""

JSON = flags.DEFINE_string("json", None, "File for the numbers of the printed table.")


def check_json() -> None:
    """Refuses a ``--json`` that could not be written, before the work is done."""
    if not JSON.value:
        return
    path = pathlib.Path(JSON.value).absolute()
    if not path.parent.is_dir():
        raise InputError(f"--json={JSON.value}: there is no such folder; make it first.")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise InputError(f"--json={JSON.value} cannot be written; give a file.")


def run(main: Callable[..., int | None], *, takes_config: bool = False) -> None:
    """Runs a command: a mistake in what it was given ends in one line and exit code 2.

    Exit codes: 0 done, 1 the run failed, 2 the input is wrong, 75 stopped by SIGTERM and saved, 130
    stopped by Ctrl-C.

    Args:
      main: called without arguments once flags are parsed, or, for a command that
        ``takes_config``, as ``main(config, spec, overrides)``: the config of
        ``--config=FILE[:arguments]`` with each ``--config.a.b=value`` applied, the text behind
        ``--config=``, and the overrides by key.
    """
    absl_logging.set_verbosity(absl_logging.WARNING)
    arguments: list[Any] = []

    def parse(argv: list[str]) -> list[str]:
        with _errors_as_lines():
            if not takes_config:
                return flags.FLAGS(argv)
            rest, parsed = _parse_config(argv)
            arguments.extend(parsed)
            return rest

    def guarded(argv: list[str]) -> int | None:
        with _errors_as_lines():
            if len(argv) > 1:
                raise InputError(f"'{argv[1]}' is not a flag; flags are written --name=value.")
            return main(*arguments)

    app.run(guarded, flags_parser=parse)


@contextlib.contextmanager
def _errors_as_lines() -> Iterator[None]:
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        ending = ending_of(error)
        if ending is None:
            raise
        _fail(*ending)


def ending_of(error: BaseException) -> tuple[str, int] | None:
    """The line and the exit code that a command ends with; None is a traceback."""
    if isinstance(error, InputError | flags.Error):
        return str(error), 2
    if isinstance(error, RunError):
        return str(error), 1
    if isinstance(error, OSError) and error.errno in OF_THE_DISK:
        what = f"'{error.filename}'" if error.filename else "a file"
        return (
            f"{what} could not be written or read: {error.strerror}. Make room, or mend the "
            "disk or its rights; the same command goes on from what is finished.",
            1,
        )
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; the same command goes on.", 130
    if isinstance(error, ImportError) and error.name is None and _BUCKET.search(str(error)):
        return f"a bucket's path is given, and what reaches it is missing: {error}.", 2
    return None


def _parse_config(argv: list[str]) -> tuple[list[str], list[Any]]:
    """Takes ``--config=`` out of argv and defines the flags of its overrides.

    config_flags can read the file itself, but gives every error in it as a traceback.
    """
    specs = [a for a in argv[1:] if re.match(r"--?config=", a)]
    rest = [a for a in argv if a not in specs]
    if len(specs) != 1:
        flags.DEFINE_string("config", None, "FILE[:key=value,...]; then --config.a.b=value.")
        flags.FLAGS(rest)  # --help ends here
        raise InputError(
            f"--config=FILE is needed once, found {len(specs)} times; "
            "for example --config=configs/gazat_vit.py."
        )
    spec = specs[0].partition("=")[2]
    config = load(spec)
    unparsed, values = _override(config, spec, rest, flags.FLAGS)
    return unparsed, [config, spec, values]


def override(config: ConfigDict, spec: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Sets each ``a.b=value`` in the config, typed as ``--config.a.b=value`` is on a command line.

    Args:
      config: changed in place.
      spec: what it was loaded from, for messages.
      overrides: one a key.

    Returns:
      The values by key.

    Raises:
      InputError: a key that does not exist or stands twice, a value of another type.
    """
    keys = [text.partition("=")[0] for text in overrides]
    for text, key in zip(overrides, keys, strict=True):
        if key == text:
            raise InputError(f"the override '{text}' has no value; write {text}=VALUE.")
        if keys.count(key) > 1:
            raise InputError(f"config key '{key}' is overridden twice.")
    try:
        argv = ["", *(f"--config.{text}" for text in overrides)]
        return _override(config, spec, argv, flags.FlagValues())[1]
    except flags.Error as error:
        raise InputError(f"{spec}: {error}.") from None


def _override(
    config: ConfigDict, spec: str, argv: list[str], flag_values: flags.FlagValues
) -> tuple[list[str], dict[str, Any]]:
    """Parses argv with the config's keys among the flags; returns what is left, and the values."""
    known = dict(flatten(config))
    overrides = {}
    argv = list(argv)
    for place, argument in enumerate(argv[1:], 1):
        if match := re.match(r"--?config\.([^=]+)", argument):
            key = match[1]
            if key not in known:
                raise InputError(
                    f"config key '{key}' does not exist in {spec}{did_you_mean(key, known)}; "
                    f"known: {', '.join(sorted(known))}."
                )
            overrides[key] = known[key]
            argv[place] = _quoted(argument, known[key])
    config_flags.DEFINE_config_dict(
        "config", config, flag_values=flag_values, lock_config=True, sys_argv=argv
    )
    unparsed = flag_values(argv)  # once: a second time would append to every tuple
    values = dict(flatten(flag_values.config))
    for key, default in overrides.items():
        kinds = {type(item) for item in default} if isinstance(default, tuple) else set()
        empty = kinds == {str} and values[key] == ()  # () of names is all of them
        if kinds and not empty and kinds != {type(item) for item in values[key]}:
            names = " or ".join(sorted(kind.__name__ for kind in kinds))
            raise InputError(
                f"--config.{key}: expected {names} separated by commas, such as "
                f"{','.join(map(str, default))}; found {values[key]}."
            )
    return unparsed, {key: values[key] for key in overrides}


def _quoted(argument: str, default: Any) -> str:
    """``key=No Finding,Edema`` as the tuple of words that it means: the parser wants quotes."""
    name, _, text = argument.partition("=")
    if not isinstance(default, tuple) or any(not isinstance(item, str) for item in default):
        return argument
    try:
        ast.literal_eval(text)
    except (SyntaxError, ValueError):
        words = tuple(word.strip() for word in text.split(",") if word.strip())
        return f"{name}={words!r}"
    return argument


def _fail(message: str, code: int) -> None:
    print(f"error: {message}", file=sys.stderr, flush=True)
    sys.exit(code)

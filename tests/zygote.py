"""Commands in processes forked from one that has imported the libraries, which takes seconds.

A command's own module is run as by ``python -m``; what it imports is there already. A command whose
environment sets JAX otherwise than this process's, but for the number of devices, cannot be served.
"""

import atexit
import dataclasses
import multiprocessing
import os
import pathlib
import runpy
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence

DEVICES = "JAX_NUM_CPU_DEVICES"
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "gazax.experiment.evaluation",
        "gazax.experiment.prediction",
        "gazax.experiment.sweep",
        "gazax.page.comparison",
        "gazax.page.sweep",
    ]
)


@dataclasses.dataclass(frozen=True)
class Done:
    """As `subprocess.CompletedProcess` has it."""

    returncode: int
    stdout: str
    stderr: str


def serves(env: Mapping[str, str]) -> bool:
    """Whether a command with this environment can be forked."""

    def of_jax(variables: Mapping[str, str]) -> dict[str, str]:
        return {
            name: value
            for name, value in variables.items()
            if name.startswith(("JAX_", "XLA_")) and name != DEVICES
        }

    return of_jax(env) == of_jax(os.environ)


def run(
    module: str, flags: Sequence[str], *, cwd: pathlib.Path, env: Mapping[str, str], timeout: float
) -> Done:
    """``python -m module *flags`` to its end.

    Raises:
      TimeoutError: it did not end; it is killed.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, err = (pathlib.Path(folder) / name for name in ("out", "err"))
        process = start(module, flags, cwd=cwd, env=env, out=out, err=err)
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f"{module} {flags} did not end in {timeout} s\n{err.read_text()}")
        return Done(process.exitcode, out.read_text(), err.read_text())


def start(
    module: str,
    flags: Sequence[str],
    *,
    cwd: pathlib.Path,
    env: Mapping[str, str],
    out: pathlib.Path,
    err: pathlib.Path,
) -> multiprocessing.process.BaseProcess:
    """``python -m module *flags``, which writes what it says into two files."""
    process = _FORKS.Process(
        target=_be, args=(module, list(flags), str(cwd), dict(env), str(out), str(err))
    )
    process.start()
    return process


def _be(
    module: str, flags: Sequence[str], cwd: str, env: Mapping[str, str], out: str, err: str
) -> None:
    """Turns this process into the command."""
    import jax

    for path, descriptor in ((out, 1), (err, 2)):
        with open(path, "wb") as file:
            os.dup2(file.fileno(), descriptor)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    jax.config.update("jax_num_cpu_devices", int(env.get(DEVICES, -1)))
    sys.path.insert(0, cwd)
    sys.argv = [module, *flags]
    code = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as left:
        code = _exit_code(left)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _exit_code(left: SystemExit) -> int:
    if left.code is None or isinstance(left.code, int):
        return left.code or 0
    print(left.code, file=sys.stderr)
    return 1

"""A bare machine with a copy of the launch scripts, and stand-ins for what it would launch on."""

import json
import os
import shlex
import shutil
import stat
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
LAUNCH = ROOT / "launch"
COMMANDS = ("gcloud", "kubectl", "xpk", "srun", "scontrol", "python3", "trainer")
SECRET = "sentinel-of-a-secret"
"""In the environment of every script, under the usual names; it may turn up nowhere."""


@dataclass
class Machine:
    """One folder; the repository's path has a space in it."""

    folder: Path

    def __post_init__(self) -> None:
        self.repository = self.folder / "my repository"
        shutil.copytree(LAUNCH, self.repository / "launch")
        (self.folder / "answers").mkdir()
        bin_folder = self.folder / "bin"
        bin_folder.mkdir()
        script = shlex.join(["bash", str(Path(__file__).with_name("command.sh")), str(self.folder)])
        for name in COMMANDS:
            path = bin_folder / name
            path.write_text(f'#!/bin/bash\nexec {script} {name} "$@"\n')
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        self.env = {
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "POLL_SECONDS": "0.02",
            "RELAUNCH_SECONDS": "0",
            **dict.fromkeys(
                (
                    "HF_TOKEN",
                    "WANDB_API_KEY",
                    "AWS_SECRET_ACCESS_KEY",
                    "GOOGLE_APPLICATION_CREDENTIALS",
                ),
                SECRET,
            ),
        }

    def commit(self) -> None:
        """Makes the repository one of git, as what ships the code needs."""
        git = ("git", "-C", self.repository, "-c", "user.name=a", "-c", "user.email=a@b")
        for words in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "Begin")):
            subprocess.run([*git, *words], check=True, env=self.env)

    def answers(self, key: str, *lines: str | int) -> None:
        (self.folder / "answers" / key).write_text("\n".join(map(str, lines)))

    def command(self, file: str, *words: str) -> list[str]:
        return ["bash", str(self.repository / "launch" / file), *words]

    def run(self, file: str, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(file, *words),
            env={**self.env, **env},
            cwd=self.repository,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def calls(self, *names: str) -> list[dict]:
        """What was called, in order; of the commands named, or all."""
        path = self.folder / "calls.jsonl"
        found = (
            [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        )
        return [call for call in found if not names or call["name"] in names]

    def words(self, *names: str) -> list[list[str]]:
        return [call["words"] for call in self.calls(*names)]


def printed(output: str) -> list[list[str]]:
    """The words of each line that a dry run printed, as a shell would read them."""
    return [shlex.split(line) for line in output.splitlines() if not line.startswith("#")]


def wait_for(condition) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it did not happen in 20 s"
        time.sleep(0.02)

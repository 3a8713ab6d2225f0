"""``gazax.main``, and a line for each batch that this process reads: places and images.

python -m tests.hosts.recording FOLDER <flags of gazax.main>
"""

import json
import os
import pathlib
import sys
from unittest import mock

from gazax import config as config_lib
from gazax import main
from gazax.data import pipeline
from gazax.experiment.run import Run

if __name__ == "__main__":
    folder = pathlib.Path(sys.argv.pop(1))
    folder.mkdir(exist_ok=True)
    real = pipeline.train_batches

    def train_batches(examples, *, start=0, **kwargs):
        with (folder / f"{os.getpid()}.jsonl").open("a") as file:
            size = kwargs["global_batch_size"]
            for number, batch in enumerate(real(examples, start=start, **kwargs)):
                line = {
                    "process": kwargs["process_index"],
                    "step": start // size + number + 1,
                    "place": batch["place"].tolist(),
                    "index": batch["index"].tolist(),
                }
                file.write(json.dumps(line) + "\n")
                file.flush()
                yield batch

    with (
        mock.patch.object(pipeline, "train_batches", train_batches),
        # They read a batch of their own, and are a program to compile that is tested elsewhere.
        mock.patch.object(Run, "_gradient_norms", return_value={}),
    ):
        config_lib.run(main.main, takes_config=True)

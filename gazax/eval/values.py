"""Values of single images under names, and the numbers made of them."""

from collections.abc import Mapping, Sequence

import numpy as np

from gazax.eval.report import Numbers
from gazax.metrics.statistics import bootstrap_difference, bootstrap_interval


class Values:
    """One value an image, ``row/column`` by ``row/column``; NaN where an image has none.

    Args:
      index: [n] places in the data set, in whose order the values are kept.
    """

    def __init__(self, index: np.ndarray) -> None:
        self._place = {int(one): place for place, one in enumerate(index)}
        self._arrays: dict[str, np.ndarray] = {}

    def put(self, row: str, index: int, values: Mapping[str, float]) -> None:
        """Notes what one image has in some columns of a row."""
        for column, value in values.items():
            name = f"{row}/{column}"
            if name not in self._arrays:
                self._arrays[name] = np.full(len(self._place), np.nan)
            self._arrays[name][self._place[index]] = value

    def __getitem__(self, name: str) -> np.ndarray:
        """[n]; NaN all over for a name that no image has."""
        return self._arrays.get(name, np.full(len(self._place), np.nan))

    @property
    def rows(self) -> list[str]:
        """The rows that any image has, in the order in which they came."""
        return list(dict.fromkeys(name.rpartition("/")[0] for name in self._arrays))

    @property
    def draws(self) -> dict[str, np.ndarray]:
        """``row/column`` -> [1, n], as a `gazax.eval.record.Record` keeps them."""
        return {name: values[None] for name, values in self._arrays.items()}

    def numbers(
        self,
        patients: np.ndarray,
        *,
        columns: Sequence[str],
        differences: Sequence[tuple[str, str]],
        seed: int,
    ) -> Numbers:
        """Means and means of paired differences, with intervals; those of no image are left out.

        Args:
          patients: [n].
          columns: the names behind the last slash.
          differences: pairs of rows; a number is called ``one-other/column``.
          seed: of the bootstrap.
        """
        found: Numbers = {}
        for column in columns:
            for row in self.rows:
                found[f"{row}/{column}"] = bootstrap_interval(
                    self[f"{row}/{column}"], patients, seed=seed
                )
            for one, other in differences:
                found[f"{one}-{other}/{column}"] = bootstrap_difference(
                    self[f"{one}/{column}"], self[f"{other}/{column}"], patients, seed=seed
                )
        return {name: number for name, number in found.items() if not np.isnan(number[0])}

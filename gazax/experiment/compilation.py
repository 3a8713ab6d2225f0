"""Where compiled programs are kept."""

import os

import jax
from ml_collections import ConfigDict

from gazax import data


def use_compilation_cache(config: ConfigDict) -> None:
    """Keeps compiled programs beside the records, so that a second start need not compile."""
    folder = data.cache_folder(config.data.cache or None) / "xla"
    jax.config.update(
        "jax_compilation_cache_dir", os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(folder)
    )
    # Small programs too: a step is one large one, but a start compiles dozens of small ones.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

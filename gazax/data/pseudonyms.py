"""Names that tell one patient from another and nobody who they are.

    pseudonym = first 16 hexadecimal digits of HMAC-SHA-256(salt, kind : id)

The salt is drawn once and lies beside the prepared data, readable by its owner alone: the same
patient has the same pseudonym in all data sets prepared there, and another one elsewhere.
"""

import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from gazax.typing import InputError

SALT = "salt"
"""Its file in the cache folder."""


@dataclass(frozen=True)
class Pseudonyms:
    """What ids are called in everything that is written.

    Args:
      salt: see above; None keeps ids as they are.
    """

    salt: bytes | None

    @property
    def check(self) -> str | None:
        """Tells one salt from another without giving it away."""
        return None if self.salt is None else self.of("check", "")

    def of(self, kind: str, name: str) -> str:
        """The pseudonym of an id; ``kind`` is image, patient, ..."""
        if self.salt is None:
            return name
        return hmac.new(self.salt, f"{kind}:{name}".encode(), "sha256").hexdigest()[:16]

    def readers(self, reader_ids: tuple[str, ...]) -> tuple[str, ...]:
        """Readers are few, and numbered."""
        if self.salt is None:
            return reader_ids
        return tuple(str(number) for number in range(len(reader_ids)))


def read_salt(cache: Path) -> bytes:
    """The salt of a cache folder, drawn when there is none yet.

    Raises:
      InputError: the folder cannot be written, or the file is not a salt.
    """
    path = cache / SALT
    try:
        cache.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            beside = cache / f".{SALT}.{secrets.token_hex(4)}"
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as f:
                f.write(secrets.token_hex(32))
            try:
                os.link(beside, path)  # whoever is first wins
            except FileExistsError:
                pass
            finally:
                beside.unlink()
        return bytes.fromhex(path.read_text(encoding="ascii"))
    except OSError as error:
        raise InputError(
            f"cannot write to the cache {cache} ({error}); set GAZAX_DATA to a folder that can be "
            "written"
        ) from error
    except ValueError:
        raise InputError(
            f"{path} is not what gazax wrote there; remove it, and data will be prepared anew"
        ) from None

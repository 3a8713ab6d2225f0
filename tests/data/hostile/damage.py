"""What a faulty disk, line or person does to a file, whatever is in it."""

import random
import struct
from collections.abc import Callable

TEN_MB = 10**7

NUMBERS = (0, 1, 2, 7, 8, 12, 15, 16, 17, 32, 255, 256, 4096, 32767, 32768, 65535)


def truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def empty(data: bytes, rng: random.Random) -> bytes:
    return b""


def swap(data: bytes, rng: random.Random) -> bytes:
    """Exchanges pairs of bytes, neighbours or not."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 2, 8, 64))):
        i = rng.randrange(len(found))
        j = min(i + 1, len(found) - 1) if rng.random() < 0.5 else rng.randrange(len(found))
        found[i], found[j] = found[j], found[i]
    return bytes(found)


def flip(data: bytes, rng: random.Random) -> bytes:
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16, 128))):
        found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
    return bytes(found)


def set_bytes(data: bytes, rng: random.Random) -> bytes:
    """Extreme bytes, most often in the first 512."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 2, 4, 8))):
        end = min(len(found), 512) if rng.random() < 0.7 else len(found)
        found[rng.randrange(end)] = rng.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, rng.randrange(256)))
    return bytes(found)


def set_number(data: bytes, rng: random.Random) -> bytes:
    """A length or a size that is not so."""
    order, size = rng.choice("<>"), rng.choice("HI")
    top = 2 ** (16 if size == "H" else 32)
    value = rng.choice((0, 1, top - 1, top // 2, top // 2 - 1, len(data) % top, rng.randrange(top)))
    at = rng.randrange(max(1, min(len(data), 1024) - 4))
    return data[:at] + struct.pack(order + size, value) + data[at + struct.calcsize(size) :]


def cut_out(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.randrange(1, 1 + max(1, len(data) // 4)) :]


def repeat(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    end = start + rng.randrange(1, 1 + max(1, len(data) // 4))
    return data[:end] + data[start:end] * rng.choice((1, 2, 50)) + data[end:]


def insert(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    junk = rng.choice((b"\0", b"\xff\xfe", b"\r", b"\n", b'"', rng.randbytes(16), b"\0" * 5000))
    return data[:at] + junk + data[at:]


def append(data: bytes, rng: random.Random) -> bytes:
    return data + rng.choice((b"\0" * 1000, data, rng.randbytes(1000), b"\0" * TEN_MB))


def noise(data: bytes, rng: random.Random) -> bytes:
    return rng.randbytes(rng.choice((1, 10, 1000, 100_000)))


BYTES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    *(truncate, truncate, swap, swap, flip, flip, flip, set_bytes, set_bytes, set_bytes),
    *(set_number, set_number, set_number, cut_out, repeat, insert, append, empty, noise),
)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """One to three of `BYTES`, one after the other."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choice(BYTES)(data, rng) if data else data
    return data

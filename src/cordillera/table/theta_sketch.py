"""Theta sketches: how many distinct values a column has, about, from a few thousand of their hashes.

A sketch keeps the least hashes; how small they are tells how many there were. Sketches of parts of a column unite to
the sketch of all of it. The stored form is the compact theta sketch of Apache DataSketches (serial version 3), as
Iceberg's statistics files have it in blobs ``apache-datasketches-theta-v1``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np

from cordillera.table.value_hash import Words

BLOB_TYPE = "apache-datasketches-theta-v1"
_ALL = 2**63 - 1
"""The theta of a sketch that has kept every hash."""
_KEPT = 4096  # the libraries' usual number: a relative standard error of 1.6%
_VERSION, _FAMILY = 3, 3
_READ_ONLY, _EMPTY, _COMPACT, _ORDERED = 2, 4, 8, 16
_SEED_HASH = 0x93CC  # of the usual seed, 9001
_HEADER = struct.Struct("<BBBBBBH")


def _none() -> Words:
    return np.empty(0, np.uint64)


@dataclass(frozen=True, slots=True, eq=False)
class ThetaSketch:
    """What is known of the distinct values of a column.

    Attributes:
        hashes: Hashes of values below ``theta``, ascending.
        theta: All hashes below it have been kept.
    """

    hashes: Words = field(default_factory=_none)
    theta: int = _ALL

    def with_hashes(self, hashes: Words) -> ThetaSketch:
        """Return the sketch of what has been seen and of these hashes, in any order and number."""
        return self._cut(np.concatenate([self.hashes, hashes[hashes < np.uint64(self.theta)]]), self.theta)

    def union(self, other: ThetaSketch) -> ThetaSketch:
        """Return the sketch of what either has seen."""
        theta = min(self.theta, other.theta)
        both = np.concatenate([self.hashes, other.hashes])
        return self._cut(both[both < np.uint64(theta)], theta)

    @staticmethod
    def _cut(hashes: Words, theta: int) -> ThetaSketch:
        distinct = np.unique(hashes)
        if len(distinct) > _KEPT:
            theta, distinct = int(distinct[_KEPT]), distinct[:_KEPT]
        return ThetaSketch(distinct, theta)

    @property
    def estimate(self) -> int:
        """How many distinct values there are; exact up to about four thousand."""
        return round(len(self.hashes) * (_ALL / self.theta))

    def to_bytes(self) -> bytes:
        """Return the stored form."""
        count, exact = len(self.hashes), self.theta == _ALL
        flags = _READ_ONLY | _COMPACT | _ORDERED | (_EMPTY if exact and not count else 0)
        longs = 3 if not exact else 1 if count <= 1 else 2
        out = _HEADER.pack(longs, _VERSION, _FAMILY, 0, 0, flags, _SEED_HASH)
        if longs > 1:
            out += struct.pack("<II", count, 0)
        if longs > 2:
            out += struct.pack("<Q", self.theta)
        return out + self.hashes.astype("<u8").tobytes()

    @classmethod
    def from_bytes(cls, stored: bytes) -> ThetaSketch | None:
        """Read the stored form, of whatever library; None if it is none that can be read, such as a compressed one."""
        if len(stored) < _HEADER.size:
            return None
        longs, version, family, _, _, flags, seed_hash = _HEADER.unpack_from(stored)
        longs &= 0x3F
        if (version, family, seed_hash) != (_VERSION, _FAMILY, _SEED_HASH) or not flags & _COMPACT or flags & 1:
            return None
        if flags & _EMPTY:
            return cls()
        if len(stored) < 8 * longs or longs not in (1, 2, 3):
            return None
        count = struct.unpack_from("<I", stored, 8)[0] if longs > 1 else 1
        theta = struct.unpack_from("<Q", stored, 16)[0] if longs == 3 else _ALL
        if len(stored) < 8 * (longs + count):
            return None
        return cls(np.sort(np.frombuffer(stored, "<u8", count, 8 * longs)).astype(np.uint64), theta)

"""The Thrift compact protocol, as far as Parquet footers and page indexes use it.

Structures are read without a schema, so that what a newer writer put into a footer survives being written again.
See https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_STOP = 0
_INTEGERS = (_I16, _I32, _I64)


@dataclass(slots=True)
class ThriftList:
    """A list or set with the wire type of its elements."""

    kind: int
    items: list[Any]


class ThriftStruct(dict[int, tuple[int, Any]]):
    """A structure: by field id, the wire type and the value."""

    def value(self, field_id: int, default: Any = None) -> Any:
        """Return the value of a field."""
        found = self.get(field_id)
        return default if found is None else found[1]

    def set_i64(self, field_id: int, value: int) -> None:
        """Put a 64-bit integer."""
        self[field_id] = (_I64, value)

    def set_i32(self, field_id: int, value: int) -> None:
        """Put a 32-bit integer."""
        self[field_id] = (_I32, value)

    def set_i16(self, field_id: int, value: int) -> None:
        """Put a 16-bit integer."""
        self[field_id] = (_I16, value)

    def set_structs(self, field_id: int, items: list[ThriftStruct]) -> None:
        """Put a list of structures."""
        self[field_id] = (_LIST, ThriftList(_STRUCT, items))

    def structs(self, field_id: int) -> list[ThriftStruct]:
        """Return a list of structures."""
        found = self.value(field_id)
        return found.items if found is not None else []

    def copy(self) -> ThriftStruct:
        """Return a copy that shares the values."""
        return ThriftStruct(self)


def decode(data: bytes) -> ThriftStruct:
    """Read one structure from the beginning of ``data``.

    Raises:
        ValueError: If the bytes are no structure.
    """
    try:
        return _Decoder(data).struct()
    except (IndexError, struct.error) as error:
        raise ValueError("the Thrift structure breaks off") from error


def encode(value: ThriftStruct) -> bytes:
    """Return a structure as bytes."""
    out = bytearray()
    _write_struct(out, value)
    return bytes(out)


class _Decoder:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def struct(self) -> ThriftStruct:
        fields, last = ThriftStruct(), 0
        while head := self._byte():
            kind = head & 0x0F
            last = last + (head >> 4) if head >> 4 else self._zigzag()
            fields[last] = (kind, kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind))
        return fields

    def _value(self, kind: int) -> Any:
        if kind in _INTEGERS:
            return self._zigzag()
        if kind == _BINARY:
            length = self._varint()
            self._at += length
            if self._at > len(self._data):
                raise IndexError
            return self._data[self._at - length : self._at]
        if kind == _STRUCT:
            return self.struct()
        if kind in (_LIST, _SET):
            return self._list()
        if kind == _DOUBLE:
            self._at += 8
            return struct.unpack("<d", self._data[self._at - 8 : self._at])[0]
        if kind in (_TRUE, _FALSE, _BYTE):  # elements of a list: a byte each
            return self._byte()
        raise ValueError(f"wire type {kind} does not occur in Parquet")

    def _list(self) -> ThriftList:
        head = self._byte()
        size, kind = head >> 4, head & 0x0F
        if size == 15:
            size = self._varint()
        return ThriftList(kind, [self._value(kind) for _ in range(size)])

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _varint(self) -> int:
        data, at = self._data, self._at
        byte = data[at]
        at += 1
        result, shift = byte & 0x7F, 7
        while byte & 0x80:
            byte = data[at]
            at += 1
            result |= (byte & 0x7F) << shift
            shift += 7
        self._at = at
        return result

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)


def _write_struct(out: bytearray, fields: ThriftStruct) -> None:
    last = 0
    for field_id in sorted(fields):
        kind, value = fields[field_id]
        if kind in (_TRUE, _FALSE):
            kind = _TRUE if value else _FALSE
        if 0 < field_id - last < 16:
            out.append((field_id - last) << 4 | kind)
        else:
            out.append(kind)
            _write_zigzag(out, field_id)
        last = field_id
        if kind not in (_TRUE, _FALSE):
            _write_value(out, kind, value)
    out.append(_STOP)


def _write_value(out: bytearray, kind: int, value: Any) -> None:
    if kind in _INTEGERS:
        _write_zigzag(out, value)
    elif kind == _BINARY:
        _write_varint(out, len(value))
        out += value
    elif kind == _STRUCT:
        _write_struct(out, value)
    elif kind in (_LIST, _SET):
        size = len(value.items)
        out.append((min(size, 15) << 4) | value.kind)
        if size >= 15:
            _write_varint(out, size)
        for item in value.items:
            _write_value(out, value.kind, item)
    elif kind == _DOUBLE:
        out += struct.pack("<d", value)
    else:
        out.append(value)


def _write_varint(out: bytearray, value: int) -> None:
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _write_zigzag(out: bytearray, value: int) -> None:
    _write_varint(out, (value << 1) ^ (value >> 63))

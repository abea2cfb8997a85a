"""Reads TensorFlow's checkpoints (PREFIX.index and PREFIX.data-*) without TensorFlow.

The index is a table as in LevelDB: blocks of sorted keys, each with a checksum. A key is the name of a variable, its value a protocol
buffer that says where in the data files the tensor is. Source: tensorflow/core/util/tensor_bundle.
"""

import glob
import math
from pathlib import Path

import numpy as np

TABLE_MAGIC = bytes.fromhex("57fb808b247547db")
FOOTER_BYTES, TRAILER_BYTES = 48, 5  # a block's trailer: compression, checksum
# TensorFlow's enum DataType.
TENSOR_TYPES = {1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 5: "<i2", 6: "i1", 9: "<i8", 10: "?", 17: "<u2", 19: "<f2", 22: "<u4", 23: "<u8"}


class TensorFlowFileError(Exception):
    pass


def tf_checkpoint_files(path):
    """The files of the checkpoint whose prefix or index `path` is; none if there is no such checkpoint."""
    prefix = str(path).removesuffix(".index")
    return [Path(f"{prefix}.index"), *map(Path, sorted(glob.glob(f"{glob.escape(prefix)}.data-*")))] if Path(f"{prefix}.index").is_file() else []


def read_tf_checkpoint(path):
    """{name: array}. Raises TensorFlowFileError, also where a checksum is wrong."""
    index, *_ = tf_checkpoint_files(path)
    try:
        entries = dict(table_entries(index.read_bytes()))
        header = fields(entries.pop(b""))
    except (IndexError, KeyError, ValueError):
        raise TensorFlowFileError(f"{index}: not an index of a TensorFlow checkpoint, or damaged") from None
    shards = number(header, 1)
    if number(header, 2) != 0:
        raise TensorFlowFileError(f"{index}: written on a big-endian machine, which is not supported")
    return {key.decode("utf-8", "replace"): read_tensor(index, key, value, shards) for key, value in entries.items()}


def read_tensor(index, key, value, shards):
    name = key.decode("utf-8", "replace")
    try:
        entry = fields(value)
        kind, shard, begin, size, crc = (number(entry, tag) for tag in (1, 3, 4, 5, 6))
        shape = [number(fields(dim), 1) for tag, dim in fields(b"".join(v for t, v in entry if t == 2)) if tag == 2]
    except (IndexError, ValueError, TypeError):
        raise TensorFlowFileError(f"{index}: the entry of {name} is damaged") from None
    if kind not in TENSOR_TYPES:
        raise TensorFlowFileError(f"{index}: {name} is not numeric (TensorFlow's type {kind})")
    if any(tag == 7 for tag, _ in entry):
        raise TensorFlowFileError(f"{index}: {name} is stored in slices, which is not supported")
    if math.prod(shape) * np.dtype(TENSOR_TYPES[kind]).itemsize != size:
        raise TensorFlowFileError(f"{index}: {name} has {size} bytes, which is not its shape {shape}")
    file = Path(str(index).removesuffix(".index") + f".data-{shard:05d}-of-{shards:05d}")
    if not file.is_file():
        raise TensorFlowFileError(f"{file} is missing: copy all files of the checkpoint")
    content = b""
    if begin + size <= file.stat().st_size:
        with open(file, "rb") as data:
            data.seek(begin)
            content = data.read(size)
    if len(content) != size or masked_crc(content) != crc:
        raise TensorFlowFileError(f"{file}: {name} is cut short or damaged")
    return np.frombuffer(content, TENSOR_TYPES[kind]).reshape(shape)


# --- Tables -------------------------------------------------------------------------------------------------------


def table_entries(data):
    """(key, value) of every block that the table's index block points to."""
    footer = data[-FOOTER_BYTES:]
    if footer[-8:] != TABLE_MAGIC:
        raise ValueError
    at = 0
    for _ in range(2):  # the meta index, then the index
        offset, at = varint(footer, at)
        size, at = varint(footer, at)
    for _, handle in block_entries(data, offset, size):
        offset, at = varint(handle, 0)
        yield from block_entries(data, offset, varint(handle, at)[0])


def block_entries(data, offset, size):
    """A key is stored as the length it shares with the key before, and the rest. The block ends with an array of restarts."""
    block, trailer = data[offset : offset + size], data[offset + size : offset + size + TRAILER_BYTES]
    if masked_crc(block + trailer[:1]) != int.from_bytes(trailer[1:], "little") or trailer[0] != 0:
        raise ValueError  # or compressed, as TensorFlow never does
    end = size - 4 - 4 * int.from_bytes(block[-4:], "little")
    at, key = 0, b""
    while at < end:
        shared, at = varint(block, at)
        rest, at = varint(block, at)
        length, at = varint(block, at)
        key = key[:shared] + block[at : at + rest]
        yield key, block[at + rest : at + rest + length]
        at += rest + length


# --- Protocol buffers ---------------------------------------------------------------------------------------------


def varint(data, at):
    """(value, position after it)."""
    value = 0
    for i in range(10):
        value |= (data[at + i] & 127) << 7 * i
        if data[at + i] < 128:
            return value, at + i + 1
    raise ValueError


def fields(data):
    """[(tag, value)] of a message; a value is a number or bytes."""
    found, at = [], 0
    while at < len(data):
        key, at = varint(data, at)
        tag, wire = divmod(key, 8)
        if wire == 0:
            value, at = varint(data, at)
        elif wire == 2:
            length, at = varint(data, at)
            value, at = data[at : at + length], at + length
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
            value, at = int.from_bytes(data[at : at + length], "little"), at + length
        else:
            raise ValueError
        found.append((tag, value))
    return found


def number(message, tag):
    """A number of a message; 0, which is not stored, if absent."""
    return next((int(value) for t, value in message if t == tag), 0)


# --- Checksums ----------------------------------------------------------------------------------------------------


def crc_table():
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(0x82F63B78), table >> 1)
    return table


CRC_TABLE = crc_table()


def crc_step(register, byte):
    return CRC_TABLE[(register ^ byte) & 255] ^ register >> 8


def crc32c(data):
    """The checksum in about sqrt(n) NumPy operations: divides the data into rows of equal length and updates the registers of all
    rows at once. A register is linear in its initial value, so rows are combined by the effect of a row of zeros on each bit."""
    data = np.frombuffer(data, np.uint8).copy()
    if len(data) < 4:
        register = np.uint32(0xFFFFFFFF)
        for byte in data:
            register = crc_step(register, byte)
        return int(register) ^ 0xFFFFFFFF
    data[:4] ^= 255  # instead of a start of 0xFFFFFFFF
    length = math.isqrt(len(data))
    rows = -(-len(data) // length)
    data = np.concatenate([np.zeros(rows * length - len(data), np.uint8), data]).reshape(rows, length)
    registers, bits = np.zeros(rows, np.uint32), np.uint32(1) << np.arange(32, dtype=np.uint32)
    zeros = bits
    for column in np.ascontiguousarray(data.T):
        registers, zeros = crc_step(registers, column), crc_step(zeros, 0)
    register = np.uint32(0)
    for row in registers:
        register = np.bitwise_xor.reduce(zeros[(register & bits) != 0]) ^ row
    return int(register) ^ 0xFFFFFFFF


def masked_crc(data):
    """TensorFlow stores checksums rotated and shifted."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF

"""Records as bytes."""
import struct
import zlib

HEADER = struct.Struct("<4sHHQ")
MARKER = b"\xa5\x5a"
PUT, DELETE, BATCH, COMPRESSED = 1, 2, 3, 128
NAMES = {PUT: "put", DELETE: "delete", BATCH: "batch"}


class Damaged(Exception):
    pass


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def checksum(data):
    c = zlib.crc32(data)
    return ((c >> 15 | c << 17) + 0xA282EAD8) & 0xFFFFFFFF


def read_record(data, at):
    """The record at an offset as (type, seq, stored payload, offset behind it)."""
    if data[at:at + 2] != MARKER:
        raise Damaged("no marker at %d" % at)
    kind = data[at + 2]
    seq = struct.unpack_from("<I", data, at + 3)[0]
    length, begin = varint(data, at + 7)
    end = begin + length
    if struct.unpack_from("<I", data, end)[0] != checksum(data[at + 2:end]):
        raise Damaged("wrong checksum at %d" % at)
    return kind, seq, data[begin:end], end + 4

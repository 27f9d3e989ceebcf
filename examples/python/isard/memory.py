"""Values over the wire; big arrays stay in shared memory and are numpy views of it."""

import fcntl
import mmap
import os
import struct
import weakref

from .wire import FORGET, SHARE, Pack, Unpack

try:
    import numpy as np
except ImportError:  # Said by the host, in a message that isard can show.
    np = None

# Arrays up to this many bytes travel in the message.
INLINE = 16 << 10
SEGMENT = 64 << 20
FAR, BACK = 0xFF, 0xFE

DTYPES = [None, "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8", "c8", "c16"]
NAMES = "u8 u16 u32 u64 i8 i16 i32 i64 f32 f64 c32 c64".split()
if np is not None:
    DTYPES = [None] + [np.dtype("<" + name) for name in DTYPES[1:]]
    CODES = {dtype: code for code, dtype in enumerate(DTYPES) if code}
BOOLS = (bool, np.bool_) if np is not None else (bool,)
INTS = (int, np.integer) if np is not None else (int,)
FLOATS = (float, np.floating) if np is not None else (float,)

SEALS = getattr(fcntl, "F_SEAL_SEAL", 1) | getattr(fcntl, "F_SEAL_SHRINK", 2) | getattr(fcntl, "F_SEAL_GROW", 4)


class Table:
    """Columns of equal length: arrays, lists of text, or lists of arrays for ragged ones.

    `records` are the frame numbers of the rows, not falling; none outside a stream.
    """

    def __init__(self, columns, records=None):
        self.columns = dict(columns)
        self.records = records

    def __len__(self):
        return len(next(iter(self.columns.values()), ()))

    def __getitem__(self, name):
        return self.columns[name]

    def __repr__(self):
        return f"Table of {len(self)} rows ({', '.join(self.columns)})"


def size_class(size):
    """The size in which a shared buffer is made: whole pages, and few sizes."""
    power = 1 << max(size - 1, 1).bit_length()
    step = max(power // 16, 4096)
    return -(-size // step) * step


class Segment:
    """Shared memory of this process, cut into slots."""

    number = 0

    def __init__(self, slot):
        Segment.number += 1
        self.id = Segment.number
        self.length = max(SEGMENT // slot, 1) * slot
        self.fd = os.memfd_create("isard-python", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, self.length)
        fcntl.fcntl(self.fd, getattr(fcntl, "F_ADD_SEALS", 1033), SEALS)
        self.map = mmap.mmap(self.fd, self.length)
        self.base = np.frombuffer(self.map, np.uint8, 1).__array_interface__["data"][0]


class Pool:
    """Writable arrays in shared memory; one that nobody has any more is used again."""

    def __init__(self):
        self.free = {}
        self.segments = []
        self.alive = {}

    def take(self, shape, dtype):
        dtype = np.dtype(dtype)
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if size <= INLINE:
            return np.empty(shape, dtype)
        slot = size_class(size)
        shelf = self.free.setdefault(slot, [])
        if not shelf:
            segment = Segment(slot)
            self.segments.append(segment)
            shelf.extend((segment, at) for at in reversed(range(0, segment.length, slot)))
        segment, at = key = shelf.pop()
        root = np.frombuffer(segment.map, dtype, size // dtype.itemsize, at)

        def back(_):
            del self.alive[key]
            shelf.append(key)

        # Every view of it keeps `root`, so this is called when the last one goes.
        self.alive[key] = weakref.ref(root, back)
        return root.reshape(shape)

    def find(self, address, size):
        for segment in self.segments:
            if segment.base <= address and address + size <= segment.base + segment.length:
                return segment, address - segment.base
        return None


class Memory:
    """What one connection lends and has borrowed."""

    def __init__(self, wire, pool):
        self.wire = wire
        self.pool = pool
        self.maps = {}
        self.borrowed = {}
        self.gone = []
        self.lent = {}
        self.next = 1
        self.told = set()

    # -- arrays of isard

    def view(self, number, segment, offset, dtype, shape):
        """An array of isard: a view that cannot be written to."""
        memory = self.maps[segment]
        count = 1
        for n in shape:
            count *= n
        root = np.frombuffer(memory, dtype, count, offset)

        def let_go(_):
            del self.borrowed[number]
            self.gone.append(number)

        address = root.__array_interface__["data"][0]
        self.borrowed[number] = (address, root.nbytes, weakref.ref(root, let_go))
        return root.reshape(shape)

    def place(self, array):
        """Where an array is for isard: its words, or none for one that travels in the message."""
        if array.nbytes <= INLINE:
            return None
        address = array.__array_interface__["data"][0]
        for number, (start, size, _) in self.borrowed.items():
            if start <= address and address + array.nbytes <= start + size:
                return BACK, number, 0, address - start
        found = self.pool.find(address, array.nbytes)
        if found is None:
            copy = self.pool.take(array.shape, array.dtype)
            copy[...] = array
            array = copy
            found = self.pool.find(array.__array_interface__["data"][0], array.nbytes)
        segment, offset = found
        if segment.id not in self.told:
            self.told.add(segment.id)
            self.wire.send(SHARE, struct.pack("<QQ", segment.id, segment.length), [segment.fd])
        number = self.next
        self.next += 1
        self.lent[number] = array
        return FAR, number, segment.id, offset

    # -- messages

    def send(self, kind, pack):
        gone, self.gone = self.gone, []
        body = struct.pack(f"<Q{len(gone)}Q", len(gone), *gone) + pack.bytes()
        self.wire.send(kind, body)

    def receive(self):
        while True:
            kind, body, fds = self.wire.receive()
            if kind == SHARE:
                words = struct.unpack(f"<{len(body) // 8}Q", body)
                for number, length, fd in zip(words[::2], words[1::2], fds):
                    self.maps[number] = mmap.mmap(fd, length, prot=mmap.PROT_READ)
                    os.close(fd)
            elif kind == FORGET:
                for number in struct.unpack(f"<{len(body) // 8}Q", body):
                    self.maps.pop(number, None)
            else:
                content = Unpack(body)
                for number in content.take(f"{content.word()}Q"):
                    self.lent.pop(number, None)
                return kind, content, fds

    # -- values

    def put(self, pack, value):
        """Puts a value."""
        parts = pack.parts
        if value is None:
            parts.append(b"\0")
        elif isinstance(value, BOOLS):
            parts.append(bytes([1, bool(value)]))
        elif isinstance(value, INTS):
            parts.append(struct.pack("<Bq", 2, int(value)))
        elif isinstance(value, FLOATS):
            parts.append(struct.pack("<Bd", 3, float(value)))
        elif isinstance(value, str):
            parts.append(b"\4")
            pack.text(value)
        elif isinstance(value, (list, tuple)):
            parts.append(struct.pack("<BQ", 5, len(value)))
            for one in value:
                self.put(pack, one)
        elif isinstance(value, dict):
            parts.append(struct.pack("<BQ", 8, len(value)))
            for key, one in value.items():
                pack.text(str(key))
                self.put(pack, one)
        elif np is not None and isinstance(value, np.ndarray):
            parts.append(b"\6")
            self.put_array(pack, value)
        elif isinstance(value, Table):
            parts.append(b"\7")
            self.put_table(pack, value)
        else:
            raise TypeError(f"isard has no value for {type(value).__name__}: {value!r}")

    def put_array(self, pack, array):
        if array.dtype == np.bool_:
            array = array.view(np.uint8)
        array = np.asarray(array, order="C")
        code = CODES.get(array.dtype)
        if code is None:
            raise TypeError(f"isard has no arrays of {array.dtype}; it has {', '.join(NAMES)}")
        shape = struct.pack(f"<BB{array.ndim}Q", code, array.ndim, *array.shape)
        place = self.place(array)
        if place is None:
            pack.parts += [shape, array.tobytes()]
        else:
            pack.parts += [bytes([place[0]]), shape, struct.pack("<QQQ", *place[1:])]

    def put_table(self, pack, table):
        records = [] if table.records is None else np.asarray(table.records, np.uint64)
        pack.parts.append(struct.pack("<QB", len(table), table.records is not None))
        pack.parts.append(np.asarray(records, "<u8").tobytes())
        pack.word(len(table.columns))
        for name, column in table.columns.items():
            pack.text(name)
            if isinstance(column, np.ndarray):
                pack.parts.append(b"\0")
                self.put_array(pack, column)
            elif all(isinstance(one, str) for one in column):
                pack.parts.append(struct.pack("<BQ", 1, len(column)))
                for one in column:
                    pack.text(one)
            else:
                rows = [np.asarray(row) for row in column]
                ends = np.cumsum([len(row) for row in rows], dtype="<u8")
                pack.parts += [struct.pack("<BQ", 2, len(rows)), ends.tobytes()]
                self.put_array(pack, np.concatenate(rows))

    def get(self, content):
        """Takes a value."""
        kind = content.body[content.at]
        content.at += 1
        if kind == 0:
            return None
        if kind == 1:
            return bool(content.take("B")[0])
        if kind == 2:
            return content.take("q")[0]
        if kind == 3:
            return content.take("d")[0]
        if kind == 4:
            return content.text()
        if kind == 5:
            return [self.get(content) for _ in range(content.word())]
        if kind == 6:
            return self.get_array(content)
        if kind == 7:
            return self.get_table(content)
        if kind == 8:
            return {content.text(): self.get(content) for _ in range(content.word())}
        raise ValueError(f"no kind of value has the code {kind}")

    def get_array(self, content):
        code, ndim = content.take("BB")
        far = code >= BACK
        if far:
            back, code, ndim = code == BACK, ndim, content.take("B")[0]
        shape = content.take(f"{ndim}Q")
        dtype = DTYPES[code]
        if far:
            number, segment, offset = content.take("QQQ")
            if not back:
                return self.view(number, segment, offset, dtype, shape)
            own = self.lent[number].reshape(-1).view(np.uint8)
            size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            return own[offset : offset + size].view(dtype).reshape(shape)
        count = int(np.prod(shape, dtype=np.int64))
        array = np.frombuffer(content.body, dtype, count, content.at).reshape(shape)
        content.at += array.nbytes
        return array

    def get_table(self, content):
        rows, numbered = content.take("QB")
        records = np.array(content.take(f"{rows}Q"), np.uint64) if numbered else None
        columns = {}
        for _ in range(content.word()):
            name, kind = content.text(), content.take("B")[0]
            if kind == 0:
                columns[name] = self.get_array(content)
            elif kind == 1:
                columns[name] = [content.text() for _ in range(content.word())]
            else:
                ends = content.take(f"{content.word()}Q")
                values = self.get_array(content)
                columns[name] = [values[a:b] for a, b in zip((0, *ends), ends)]
        return Table(columns, records)


def pack_of(*values):
    """A content of codes (`int`) and texts."""
    pack = Pack()
    for value in values:
        pack.text(value) if isinstance(value, str) else pack.code(value)
    return pack

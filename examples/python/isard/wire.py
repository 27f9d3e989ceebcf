"""Messages over the socket to isard: a head of sixteen bytes, a body, descriptors beside it."""

import socket
import struct

MAGIC = b"isrd"
HEAD = struct.Struct("<4sIII")
FDS = 32
PROTOCOL = 1

# What the messages are.
SHARE, FORGET, HELLO, REQUEST, REPLY, ASK, ANSWER = range(1, 8)


class Gone(Exception):
    """isard has ended the connection."""


class Wire:
    """One end of a connection."""

    def __init__(self, sock):
        self.sock = sock

    def send(self, kind, body, fds=()):
        """Sends a message."""
        head = HEAD.pack(MAGIC, kind, len(body), len(fds))
        try:
            if fds:
                sent = socket.send_fds(self.sock, [head, body], list(fds))
                rest = (head + bytes(body))[sent:]
                if rest:
                    self.sock.sendall(rest)
            elif len(body) < 1 << 16:
                self.sock.sendall(head + body)
            else:
                self.sock.sendall(head)
                self.sock.sendall(body)
        except OSError as error:
            raise Gone from error

    def receive(self):
        """Receives a message: its kind, its body and the descriptors beside it."""
        head, fds = b"", []
        while len(head) < HEAD.size:
            try:
                part, more, _, _ = socket.recv_fds(self.sock, HEAD.size - len(head), FDS)
            except OSError as error:
                raise Gone from error
            if not part:
                raise Gone
            head += part
            fds += more
        magic, kind, length, _ = HEAD.unpack(head)
        if magic != MAGIC:
            raise ValueError(f"a message begins with {magic!r}, wanted {MAGIC!r}")
        body = bytearray(length)
        room = memoryview(body)
        while room:
            got = self.sock.recv_into(room)
            if not got:
                raise Gone
            room = room[got:]
        return kind, body, fds


class Pack:
    """The content of a message that is made."""

    def __init__(self):
        self.parts = []

    def code(self, number):
        self.parts.append(struct.pack("<I", number & 0xFFFFFFFF))

    def word(self, number):
        self.parts.append(struct.pack("<Q", number))

    def text(self, text):
        data = text.encode()
        self.parts += [struct.pack("<Q", len(data)), data]

    def bytes(self):
        return b"".join(self.parts)


class Unpack:
    """The content of a message that came."""

    def __init__(self, body, at=0):
        self.body = body
        self.at = at

    def take(self, form):
        """The numbers of a `struct` format, without byte order."""
        form = struct.Struct("<" + form)
        numbers = form.unpack_from(self.body, self.at)
        self.at += form.size
        return numbers

    def code(self):
        return self.take("I")[0]

    def word(self):
        return self.take("Q")[0]

    def text(self):
        length = self.word()
        self.at += length
        return str(self.body[self.at - length : self.at], "utf-8")

"""The host: serves the stages of a plugin file to the isard that started this process."""

import hashlib
import json
import os
import socket
import sys
import threading
import traceback

from . import stages
from .memory import Memory, np, pack_of
from .stages import DECLARED, ERROR, OK
from .wire import ANSWER, ASK, HELLO, PROTOCOL, REPLY, Gone, Pack, Wire

BUILD, END, EXAMPLE = 101, 102, 103
READ, SEAL, REPLACE, RECORD = 1, 2, 3, 4


class Asked(Exception):
    """An error of isard itself, which goes back as it came."""

    def __init__(self, error):
        super().__init__(error.get("message"))
        self.error = error


class Parts(dict):
    """The parts of reductions, by number."""

    last = 0

    def append(self, part):
        self.last += 1
        self[self.last] = part


class Cx:
    """What a stage may ask of isard: an argument named `cx` gets it."""

    def __init__(self, host, call):
        self.host, self.seed, self.stage = host, call.seed, call.name
        self.frame = call.start
        self.gaps = []

    def check(self):
        """Ends the call when the run must end; long loops say it now and then."""
        if self.host.cancelled.is_set():
            raise stages.Cancelled("the run was cancelled")

    def read(self, path):
        """What a path of a recipe names: `dark.h5::/entry/data`."""
        return self.host.ask(READ, {"path": path})["value"]

    def give_up(self, frame, why):
        """Gives a frame up: from here on it is a gap."""
        self.gaps.append((stages.SKIPPED, frame, 1, why))

    def rng(self):
        """Random numbers that depend on the run's seed, the stage and the frame alone."""
        name = int.from_bytes(hashlib.sha256(self.stage.encode()).digest()[:8], "little")
        return np.random.default_rng([self.seed, name, self.frame])


class Output:
    """Where a writer puts its files: whole ones."""

    def __init__(self, host):
        self.host = host

    def seal(self, path, content):
        """Writes a file that is never touched again."""
        self.host.ask(SEAL, {"path": path, "content": np.frombuffer(content, np.uint8)})

    def replace(self, path, content):
        """Writes a file in place of an earlier one of the same stage, in one step."""
        self.host.ask(REPLACE, {"path": path, "content": np.frombuffer(content, np.uint8)})

    def record(self):
        """What the run is, as JSON text."""
        return self.host.ask(RECORD, {})["record"]


class Call:
    """One operation."""

    def __init__(self, host, content):
        self.op, self.reason = content.take("II")
        (self.stage, self.seed, self.start, self.len, self.next, self.room, self.nanoseconds, self.part,
         self.later) = content.take("9Q")
        self.name, self.axis, self.why = content.text(), content.text(), content.text()
        self.input = host.memory.get(content) if content.code() else None
        self.records = []
        self.parts, self.output = host.parts, host.output
        self.cx = Cx(host, self)


class Host:
    """The stages of one plugin, for one connection."""

    def __init__(self, wire):
        self.memory = Memory(wire, stages.POOL)
        self.cancelled = threading.Event()
        self.stages, self.last = {}, 0
        self.parts, self.output = Parts(), Output(self)

    def ask(self, what, asked):
        """Asks isard in the middle of a call."""
        pack = pack_of(what)
        self.memory.put(pack, asked)
        self.memory.send(ASK, pack)
        kind, content, _ = self.memory.receive()
        if kind != ANSWER:
            raise ValueError(f"a message of kind {kind} in place of an answer")
        status, answer = content.code(), self.memory.get(content)
        if status != OK:
            raise Asked(answer)
        return answer

    def work(self, call):
        """Does an operation: status, what is given, the number of a new part or stage."""
        if call.op == BUILD:
            self.cancelled.clear()
            stage = DECLARED[call.name].build(json.loads(call.input["set"]))
            self.last += 1
            self.stages[self.last] = stage
            return OK, {}, self.last
        if call.op == END:
            self.stages.pop(call.stage, None)
            return OK, {}, 0
        if call.op == EXAMPLE:
            example = DECLARED[call.name].example
            return OK, example or {"external": "the plugin gives no example"}, 0
        before = self.parts.last
        status, given = self.stages[call.stage].call(call.op, call)
        return status, given, self.parts.last if self.parts.last != before else 0

    def serve_one(self):
        _, content, _ = self.memory.receive()
        call = Call(self, content)
        try:
            status, given, part = self.work(call)
        except (Exception, SystemExit) as error:
            status, given, part = ERROR, described(error), 0
        records, gaps = call.records, call.cx.gaps
        # What came is let go before the reply says so.
        call.input = None
        del call
        try:
            self.reply(status, given, part, records, gaps)
        except TypeError as error:
            self.reply(ERROR, described(error), 0, [], [])

    def reply(self, status, given, part, records, gaps):
        pack = Pack()
        pack.code(status)
        pack.word(part)
        self.memory.put(pack, given)
        pack.code(len(records))
        for reason, start, count, why, data in records:
            span(pack, reason, start, count, why)
            self.memory.put(pack, data)
        pack.code(len(gaps))
        for gap in gaps:
            span(pack, *gap)
        self.memory.send(REPLY, pack)


def span(pack, reason, start, count, why):
    pack.code(reason)
    pack.word(start)
    pack.word(count)
    pack.text("")
    pack.text(why)


def described(error):
    """An exception as an error of isard: what, and the lines of the plugin it came through, innermost first."""
    if isinstance(error, Asked):
        return error.error
    own = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(("<isard>", "<string>"))]
    blame = "plugin"
    if isinstance(error, stages.DataError):
        blame = "data"
    elif isinstance(error, stages.Cancelled):
        blame = "cancelled"
    elif isinstance(error, OSError):
        blame = "io"
    kind = type(error).__name__
    text = str(error) if isinstance(error, (stages.DataError, stages.Cancelled)) else f"{kind}: {error}"
    places = [f"{f.filename}:{f.lineno} in `{f.name}`" for f in reversed(own[-6:])]
    found = {"blame": blame, "message": text, "places": places, "transient": False}
    if own and own[-1].line:
        found["help"] = f"the line is `{own[-1].line}`"
    return found


def load(path, sha256):
    """Runs the plugin file, whose stages declare themselves."""
    with open(path, "rb") as file:
        text = file.read()
    found = hashlib.sha256(text).hexdigest()
    if found != sha256:
        raise ValueError(f"plugin {path} has changed: its SHA-256 is {found}, wanted {sha256}")
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    import types

    module = types.ModuleType("isard_plugin_" + os.path.basename(path)[:-3])
    module.__file__ = path
    sys.modules[module.__name__] = module
    exec(compile(text, path, "exec"), module.__dict__)
    if not DECLARED:
        raise ValueError("it declares no stage: put `@isard.map(\"family.what\")` or another role on a function")
    return json.dumps([stage.card for stage in DECLARED.values()])


def lifeline(fd, host):
    """Listens for a word that cancels the run; its end ends this process."""
    wire = Wire(socket.socket(fileno=fd))
    try:
        while True:
            wire.receive()
            host.cancelled.set()
    except Exception:
        os._exit(0)


def serve(path):
    """Serves the plugin until isard ends the connection; the exit code of the process."""
    sock = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout.reconfigure(line_buffering=True)
    wire = Wire(sock)
    host = Host(wire)
    _, content, fds = host.memory.receive()
    version, sha256 = content.code(), content.text()
    hello = pack_of(PROTOCOL)
    try:
        if np is None:
            raise ImportError(f"no module numpy for {sys.executable}")
        if version != PROTOCOL:
            raise ValueError(f"isard speaks version {version} of the host protocol, wanted {PROTOCOL}")
        cards = load(path, sha256)
        hello.code(OK)
        hello.word(1)
        hello.text(cards)
    except BaseException as error:
        hello = pack_of(PROTOCOL, ERROR)
        hello.word(1)
        given = described(error)
        if np is None:
            given["help"] = "install numpy there, or name another Python by ISARD_PYTHON"
        host.memory.put(hello, given)
        host.memory.send(HELLO, hello)
        return 0
    threading.Thread(target=lifeline, args=(fds[0], host), daemon=True).start()
    host.memory.send(HELLO, hello)
    try:
        while True:
            host.serve_one()
    except Gone:
        return 0

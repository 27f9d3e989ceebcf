"""Functions and classes as stages: what isard asks of each role."""

import inspect

from . import memory, ports
from .memory import np

# The operations, as `include/isard.h` numbers them.
CHECK, SHAPES, COST, SAVE, LOAD, OPEN, GAP, FINISH = range(1, 9)
PULL, APPLY, LAG, PUSH = 10, 20, 30, 31
PART, ADD, MERGE, PEEK, DISCARD = range(40, 45)
ABSORB, COMPLETE, REFINE, SNAPSHOT = range(50, 54)
WRITE, COMMIT, RUN = 60, 61, 70
OK, ERROR, NONE, WAIT = range(4)
MISSING, CORRUPT, SKIPPED = 1, 2, 3

KINDS = {"source": "source", "fit": "fitter", "writer": "writer", "task": "tool"}

# The methods that a class must have, by role.
NEEDED = {
    "source": "open frames",
    "fold": "push save load",
    "reduce": "add merge finish save load",
    "fit": "absorb refine snapshot save load",
    "writer": "open write commit finish",
}


class DataError(Exception):
    """The data are not what they should be; isard then blames them and not the plugin."""


class Skip(Exception):
    """Gives the frame up: from here on it is a gap, with the reason."""


class Cancelled(Exception):
    """The run must end."""


class Wait:
    """What a source yields when it has nothing now: isard asks again after so many seconds."""

    def __init__(self, seconds):
        self.seconds = seconds


class Stage:
    """A stage as it is declared."""

    def __init__(self, role, name, what, kind=None, example=None, batch=False, early=False, version=""):
        self.role, self.name, self.what, self.batch, self.example = role, name, what, batch, example
        lacking = [word for word in NEEDED.get(role, "").split() if not hasattr(what, word)]
        if lacking:
            raise TypeError(f"`{name}` is a {role} and lacks {', '.join(lacking)}")
        text = inspect.getdoc(what)
        doc, docs = ports.summary(text) or f"The {role} `{name}` in Python.", ports.described(text)
        # Where inputs, outputs and parameters are written.
        of = {"source": "open", "fold": "push", "reduce": "add", "fit": "absorb", "writer": "write"}.get(role)
        out = {"source": "frames", "fold": "push", "reduce": "finish", "fit": "snapshot"}.get(role)
        takes = getattr(what, of) if of else what
        gives = getattr(what, out) if out else what
        docs |= ports.described(inspect.getdoc(takes)) | ports.described(inspect.getdoc(gives))
        made = what.__init__ if of and "__init__" in vars(what) else None if of else what
        self.inputs = ports.inputs(takes, docs)
        self.outputs = [] if role == "writer" else ports.outputs(gives, docs, role in ("map", "fold", "source"))
        if role == "source":
            self.inputs = [one for one in self.inputs if one["name"] != "next"]
        empty = {"type": "object", "additionalProperties": False, "properties": {}, "description": doc}
        self.card = {
            "name": name,
            "kind": kind or KINDS.get(role, "reducer"),
            "role": role,
            "doc": doc,
            "version": version,
            "schema": ports.schema(made, doc, docs) if made else empty,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "early": early,
        }

    def build(self, set):
        """One stage with its parameters."""
        return ROLES[self.role](self, set)


class Built:
    """A stage with its parameters; the roles below say what they do with an operation."""

    def __init__(self, stage, set):
        self.stage, self.set = stage, set
        self.led = [one["name"] for one in stage.inputs if not one["fixed"] and not one["open"]]
        if stage.role not in ("map", "task"):
            self.own = self.make()

    def make(self):
        return self.stage.what(**self.set)

    def call(self, op, call):
        if op == CHECK:
            check = getattr(getattr(self, "own", None), "check", lambda: [])
            faults = [{"parameter": name, "message": text} for name, text in check()]
            return OK, {"faults": faults}
        if op == SHAPES:
            single = {one["name"]: one["kind"]["array"]["dtype"] for one in self.stage.outputs if "array" in one["kind"]}
            return OK, {name: {"dtype": dtype} for name, dtype in single.items() if dtype in memory.NAMES}
        if op == COST:
            return OK, {}
        if op == SAVE:
            return OK, self.own.save()
        if op == LOAD:
            self.own.load(call.input)
            return OK, {}
        return self.role(op, call)

    def role(self, op, call):
        raise ValueError(f"a {self.stage.role} knows no operation {op}")

    def gap(self, own, call):
        if hasattr(own, "gap"):
            own.gap(call.cx.frame, call.len, call.why)

    def one(self, function, call, i, fixed):
        """Calls a function for record `i` of the input."""
        call.cx.frame = call.start + i
        given = {name: call.input[name][i] for name in self.led if call.input.get(name) is not None}
        if wants_cx(function):
            given["cx"] = call.cx
        return function(**given, **fixed)

    def fixed(self, call):
        return {name: value for name, value in (call.input or {}).items() if name not in self.led}


def wants_cx(function):
    return "cx" in inspect.signature(function).parameters


def named(value, stage):
    """What a function gave, by port."""
    if isinstance(value, dict):
        return value
    if len(stage.outputs) == 1:
        return {stage.outputs[0]["name"]: value}
    raise TypeError(f"`{stage.name}` gave {type(value).__name__}, wanted a dict of {[p['name'] for p in stage.outputs]}")


def led(outputs, n, start):
    """The outputs of single records as arrays that lead with them; none stands for one that was given up."""
    first = next((one for one in outputs if one is not None), {})
    whole = {}
    for name, value in first.items():
        if isinstance(value, memory.Table):
            whole[name] = joined([(start + i, one[name]) for i, one in enumerate(outputs) if one is not None])
            continue
        if isinstance(value, (str, dict, list)):
            whole[name] = [None if one is None else one[name] for one in outputs]
            continue
        value = np.asarray(value)
        if n == 1:
            whole[name] = value[None]
            continue
        array = POOL.take((n, *value.shape), value.dtype)
        for i, one in enumerate(outputs):
            array[i] = 0 if one is None else one[name]
        whole[name] = array
    return whole


def joined(tables):
    """The tables of single records as one, whose rows say which record they belong to."""
    columns = {}
    for name, column in tables[0][1].columns.items():
        parts = [table.columns[name] for _, table in tables]
        columns[name] = np.concatenate(parts) if isinstance(column, np.ndarray) else sum(map(list, parts), [])
    records = np.repeat([number for number, _ in tables], [len(table) for _, table in tables])
    return memory.Table(columns, records)


class Map(Built):
    def __init__(self, stage, set):
        super().__init__(stage, set)
        self.blank = None

    def role(self, op, call):
        if op != APPLY:
            return super().role(op, call)
        function, fixed = self.stage.what, self.fixed(call) | self.set
        if self.stage.batch:
            given = {name: call.input[name] for name in self.led if name in call.input}
            more = {"cx": call.cx} if wants_cx(function) else {}
            return OK, named(function(**given, **fixed, **more), self.stage)
        outputs = []
        for i in range(call.len):
            try:
                outputs.append(named(self.one(function, call, i, fixed), self.stage))
            except Skip as reason:
                call.cx.give_up(call.start + i, str(reason))
                outputs.append(None)
        good = next((one for one in outputs if one is not None), None)
        if good is not None:
            self.blank = {name: np.zeros_like(value) for name, value in good.items() if not isinstance(value, (str, dict, list))}
        elif self.blank is None:
            raise DataError(f"frames {call.start} to {call.start + call.len - 1} were all given up before any was good")
        else:
            outputs = [self.blank] * call.len
        return OK, led(outputs, call.len, call.start)


class Task(Built):
    def role(self, op, call):
        if op != RUN:
            return super().role(op, call)
        function = self.stage.what
        more = {"cx": call.cx} if wants_cx(function) else {}
        given = {name: value for name, value in call.input.items() if value is not None}
        return OK, named(function(**given, **self.set, **more), self.stage)


class Fold(Built):
    def __init__(self, stage, set):
        super().__init__(stage, set)
        self.pending = []

    def call(self, op, call):
        if op == SAVE:
            return OK, {"pending": self.pending, "own": self.own.save()}
        if op == LOAD:
            self.pending = list(call.input["pending"])
            self.own.load(call.input["own"])
            return OK, {}
        return super().call(op, call)

    def role(self, op, call):
        if op == LAG:
            return OK, {"kept": getattr(self.own, "lag", 0)}
        if op == PUSH:
            fixed = self.fixed(call)
            for i in range(call.len):
                self.pending.append(call.start + i)
                self.emit(call, self.one(self.own.push, call, i, fixed))
        elif op == GAP:
            self.gap(self.own, call)
            call.records.append((call.reason, call.start, call.len, call.why, {}))
        elif op == FINISH:
            for output in getattr(self.own, "finish", lambda: [])() or []:
                self.emit(call, output)
            if self.pending:
                raise ValueError(f"frames {self.pending} were pushed and never came out")
        else:
            return super().role(op, call)
        return OK, {}

    def emit(self, call, output):
        if output is not None:
            number = self.pending.pop(0)
            call.records.append((0, number, 1, "", led([named(output, self.stage)], 1, number)))


class Reduce(Built):
    def role(self, op, call):
        parts = call.parts
        if op in (PART, LOAD):
            parts.append(self.make())
            return OK, {}
        part = parts.get(call.part)
        if op == ADD:
            fixed = self.fixed(call)
            for i in range(call.len):
                self.one(part.add, call, i, fixed)
        elif op == MERGE:
            part.merge(parts.pop(call.later))
        elif op == DISCARD:
            parts.pop(call.part)
        elif op == PEEK:
            shown = part.peek() if hasattr(part, "peek") else None
            return (NONE, {}) if shown is None else (OK, named(shown, self.stage))
        elif op == FINISH:
            return OK, named(parts.pop(call.part).finish(), self.stage)
        else:
            return super().role(op, call)
        return OK, {}

    def call(self, op, call):
        if op == SAVE:
            return OK, call.parts.get(call.part).save()
        if op == LOAD:
            part = self.make()
            part.load(call.input)
            call.parts.append(part)
            return OK, {}
        return super().call(op, call)


class Fit(Built):
    def role(self, op, call):
        own = self.own
        if op == ABSORB:
            fixed = self.fixed(call)
            for i in range(call.len):
                self.one(own.absorb, call, i, fixed)
        elif op == GAP:
            self.gap(own, call)
        elif op == COMPLETE:
            getattr(own, "complete", lambda: None)()
        elif op == REFINE:
            cost, more = own.refine()
            return OK, {"cost": float(cost), "more": bool(more)}
        elif op == SNAPSHOT:
            shown = own.snapshot()
            return (NONE, {}) if shown is None else (OK, named(shown, self.stage))
        else:
            return super().role(op, call)
        return OK, {}


class Writer(Built):
    def role(self, op, call):
        own = self.own
        if op == OPEN:
            own.open(call.output, call.input)
        elif op == WRITE:
            fixed = self.fixed(call)
            for i in range(call.len):
                self.one(own.write, call, i, fixed)
        elif op == GAP:
            self.gap(own, call)
        elif op == COMMIT:
            return OK, own.commit() or {}
        elif op == FINISH:
            own.finish()
        else:
            return super().role(op, call)
        return OK, {}


class Source(Built):
    def role(self, op, call):
        if op == OPEN:
            opened = self.own.open(**(call.input or {})) or {}
            self.frames, self.number = iter(self.own.frames(call.next)), call.next
            return OK, {"head": {}, "shapes": {}, "live": False, "scan": [], **opened}
        if op != PULL:
            return super().role(op, call)
        for _ in range(max(call.room, 1)):
            try:
                output = next(self.frames)
            except StopIteration:
                return NONE, {}
            if isinstance(output, Wait):
                return WAIT, {"wait": int(output.seconds * 1e9)}
            if isinstance(output, tuple):
                self.number, output = output
            if isinstance(output, Skip):
                call.records.append((SKIPPED, self.number, 1, str(output), {}))
            else:
                data = led([named(output, self.stage)], 1, self.number)
                call.records.append((0, self.number, 1, "", data))
            self.number += 1
        return OK, {}


ROLES = {"map": Map, "task": Task, "fold": Fold, "reduce": Reduce, "fit": Fit, "writer": Writer, "source": Source}
POOL = memory.Pool()
DECLARED = {}


def declare(role):
    """The decorator of a role."""

    def decorator(name, **more):
        def keep(what):
            if name in DECLARED:
                raise ValueError(f"stage `{name}` is declared twice")
            DECLARED[name] = Stage(role, name, what, **more)
            return what

        return keep

    decorator.__name__ = role
    decorator.__doc__ = f"Declares a {role}: `@isard.{role}(\"family.what\")`."
    return decorator

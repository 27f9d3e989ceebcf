"""Typed ports and parameters, from annotations."""

import inspect
import re
import types
import typing

SCALARS = {float: ("f64", "float"), int: ("i64", "int"), bool: ("u8", "bool"), str: (None, "text")}


class Array:
    """The annotation of an array: `Array["u16", "y x"]`.

    The dtype is a name, several joined by `|`, or one of `any number integer unsigned float complex`. The axes are
    those of one record, slowest first; an empty text means one number for each record, none leaves them open.
    """

    def __init__(self, dtype="any", axes=None, doc=None, unit=None, fixed=False):
        self.dtype, self.axes, self.doc, self.unit, self.fixed = dtype, axes, doc, unit, fixed

    def __class_getitem__(cls, item):
        return cls(*item) if isinstance(item, tuple) else cls(item)

    def kind(self):
        axes = None if self.axes is None else self.axes.split()
        return {"array": {"dtype": self.dtype, "axes": axes}}


class InputPath(str):
    """The annotation of a parameter that names a file to read."""


class OutputPath(str):
    """The annotation of a parameter that names a file to write."""


class Columns:
    """The annotation of a table: `Columns["row: f64 pixel, label: text"]`."""

    def __init__(self, text="", doc=None):
        self.text, self.doc, self.unit, self.fixed = text, doc, None, False

    def __class_getitem__(cls, item):
        return cls(*item) if isinstance(item, tuple) else cls(item)

    def kind(self):
        columns = []
        for part in filter(None, (part.strip() for part in self.text.split(","))):
            name, _, rest = part.partition(":")
            dtype, *unit = rest.split()
            dtype = None if dtype == "text" else dtype
            columns.append({"name": name.strip(), "dtype": dtype, "unit": " ".join(unit) or None})
        return {"table": {"columns": columns}}


def described(doc):
    """What a docstring says of single names, in lines like `    name: text.`"""
    found = re.findall(r"^\s+`?(\w+)`?:\s+(\S.*)$", doc or "", re.MULTILINE)
    return dict(found)


def summary(doc):
    """A docstring without the parts that describe single names."""
    return re.split(r"^(?:Args|Parameters|Returns|Yields):\s*$", doc or "", maxsplit=1, flags=re.MULTILINE)[0].strip()


def unwrapped(annotation):
    """An annotation without `Optional` and `Annotated`: itself, whether it may be absent, its doc."""
    doc, optional = None, False
    if typing.get_origin(annotation) is typing.Annotated:
        annotation, *more = typing.get_args(annotation)
        doc = next((m for m in more if isinstance(m, str)), None)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        rest = [a for a in typing.get_args(annotation) if a is not type(None)]
        optional = len(rest) < len(typing.get_args(annotation))
        annotation = rest[0] if len(rest) == 1 else annotation
    return annotation, optional, doc


def port(name, annotation, docs, per_record):
    """The port of an annotation; `per_record` makes plain numbers one for each record."""
    annotation, optional, doc = unwrapped(annotation)
    fixed, unit = False, None
    if isinstance(annotation, (Array, Columns)):
        kind, unit, fixed = annotation.kind(), annotation.unit, annotation.fixed
        doc = annotation.doc or doc
    elif annotation in (Array, Columns):
        kind = annotation().kind()
    elif annotation in SCALARS:
        dtype, kind = SCALARS[annotation]
        if per_record and dtype:
            kind = {"array": {"dtype": dtype, "axes": []}}
        else:
            fixed = True
    elif annotation in (dict, list):
        kind = annotation.__name__
    elif annotation in (inspect.Parameter.empty, typing.Any):
        kind = "any"
    else:
        raise TypeError(f"`{name}` is annotated {annotation!r}; wanted isard.Array, isard.Columns or a plain type")
    doc = doc or docs.get(name) or f"The {name.replace('_', ' ')}."
    return {"name": name, "doc": doc, "kind": kind, "unit": unit, "optional": optional, "fixed": fixed, "open": False}


def inputs(function, docs):
    """The input ports of a function: its positional parameters but `self` and `cx`."""
    hints = annotations(function)
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    found = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            found.append({**port(name, typing.Any, docs, False), "open": True})
        if parameter.kind not in positional or name in ("self", "cx"):
            continue
        one = port(name, hints.get(name, parameter.annotation), docs, False)
        one["optional"] |= parameter.default is not inspect.Parameter.empty
        found.append(one)
    return found


def outputs(function, docs, per_record):
    """The output ports of a function: a dict of annotations, or one under the name `value`."""
    annotation = annotations(function).get("return")
    if annotation is None:
        return []
    if not isinstance(annotation, dict):
        annotation = {"value": annotation}
    return [port(name, one, docs, per_record) for name, one in annotation.items()]


def annotations(function):
    """The annotations of a function, also where they were written as text."""
    found = dict(getattr(function, "__annotations__", {}))
    scope = {**getattr(function, "__globals__", {})}
    return {name: eval(one, scope) if isinstance(one, str) else one for name, one in found.items()}


def schema(function, doc, docs):
    """The JSON schema of the parameters: the arguments of a function that are given by name only."""
    properties, required = {}, []
    hints = annotations(function)
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        annotation, optional, text = unwrapped(hints.get(name, typing.Any))
        one = {"description": text or docs.get(name) or f"The {name.replace('_', ' ')}.", **typed(annotation)}
        if parameter.default is inspect.Parameter.empty:
            required += [] if optional else [name]
        else:
            one["default"] = parameter.default
        properties[name] = one
    found = {"type": "object", "additionalProperties": False, "description": doc, "properties": properties}
    return {**found, "required": required} if required else found


def typed(annotation):
    """The JSON schema of a plain type."""
    plain = {float: "number", int: "integer", bool: "boolean", str: "string", dict: "object", list: "array"}
    if annotation in (InputPath, OutputPath):
        return {"type": "string", "x-path": "input" if annotation is InputPath else "output"}
    if annotation in plain:
        return {"type": plain[annotation]}
    if typing.get_origin(annotation) is typing.Literal:
        return {"enum": list(typing.get_args(annotation))}
    if typing.get_origin(annotation) in (list, tuple):
        inner = [a for a in typing.get_args(annotation) if a is not Ellipsis]
        return {"type": "array", "items": typed(inner[0])} if inner else {"type": "array"}
    if annotation is typing.Any:
        return {}
    raise TypeError(f"a parameter is annotated {annotation!r}; wanted a plain type, a list of one, or a Literal")

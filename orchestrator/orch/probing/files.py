"""A plugin's file: where it is and what is wrong with it, read and never run."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path

from orch import registry
from orch.contracts import API
from orch.registry import Plugin

_TARGET = re.compile(r"(?P<module>[\w.]+)\s*:\s*(?P<name>\w+)[\w.]*\s*(\[.*\])?\s*\Z")


@dataclass(frozen=True)
class Source:
    """The file that an entry point names; None where there is none. `fault` is what is wrong."""

    file: Path | None
    fault: str = ""


def read(plugin: Plugin) -> Source:
    """Find and parse the file of a plugin without importing it or the package it is in."""
    target = _TARGET.match(plugin.target)
    if target is None:
        return Source(None, f"its entry point {plugin.target!r} is not of the form module:Class")
    module, name = target["module"], target["name"]
    spec = find(module)
    if spec is None:
        return Source(None, f"its module {module} is not there")
    if spec.origin is None or not spec.has_location:
        return Source(None, f"its module {module} is a folder without __init__.py")
    file = Path(spec.origin)
    if file.suffix != ".py":
        return Source(file)  # compiled: what it holds is known once it is imported
    try:
        tree = ast.parse(file.read_bytes(), file.name)
    except SyntaxError as error:
        return Source(file, f"{file.name} line {error.lineno or 1} is no Python: {error.msg}")
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        return Source(file, f"{file.name} cannot be read: {error}")
    return Source(file, _fault(file, tree, name))


def find(module: str) -> ModuleSpec | None:
    """Where a module is, one part of its name after the other; its parents are not imported."""
    spec, places = None, None
    name = ""
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        spec = _spec(name, places)
        if spec is None:
            return None
        places = spec.submodule_search_locations or []
    return spec


def _spec(name: str, places: Iterable[str] | None) -> ModuleSpec | None:
    """The spec of one module, by the finders that an import would ask."""
    path: Sequence[str] | None = None if places is None else list(places)
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(name, path)
        except KeyError:  # a namespace package in one that is not imported
            spec = _namespace(name, path or ())
        if spec is not None:
            return spec
    return None


def _namespace(name: str, path: Sequence[str]) -> ModuleSpec | None:
    folders = [Path(place) / name.rpartition(".")[2] for place in path]
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = [str(folder) for folder in folders if folder.is_dir()]
    return spec if spec.submodule_search_locations else None


def _fault(file: Path, tree: ast.Module, name: str) -> str:
    found = {each for statement in tree.body for each in _bound(statement)}
    if name not in found and not found & {"*", "__getattr__"}:
        return f"{file.name} has no {name}"
    for statement in tree.body:
        if isinstance(statement, ast.ClassDef) and statement.name == name:
            for api in _literal_api(statement):
                if api != API:
                    return registry.other_api(api)
    return ""


def _bound(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement at module level binds, as far as can be seen."""
    match statement:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
            yield name
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            yield from (each.asname or each.name.partition(".")[0] for each in names)
        case _:
            for node in ast.walk(statement):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    yield node.id
                elif node is not statement and isinstance(node, ast.stmt):
                    yield from _bound(node)


def _literal_api(body: ast.ClassDef) -> Iterator[object]:
    for statement in body.body:
        match statement:
            case (
                ast.Assign(targets=[ast.Name(id="api")], value=ast.Constant(value=value))
                | ast.AnnAssign(target=ast.Name(id="api"), value=ast.Constant(value=value))
            ):
                yield value
            case _:
                continue


def imports(file: Path) -> Iterator[tuple[str, int]]:
    """The top-level packages that a file imports at module level, each with its line."""
    for statement in ast.parse(file.read_bytes(), file.name).body:
        for node in [statement, *_within(statement)]:
            if isinstance(node, ast.Import):
                yield from ((each.name.partition(".")[0], node.lineno) for each in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.partition(".")[0], node.lineno


def _within(statement: ast.stmt) -> Iterator[ast.stmt]:
    """The statements that run with this one: not the bodies of functions."""
    for node in ast.iter_child_nodes(statement):
        if isinstance(node, ast.stmt) and not isinstance(node, ast.FunctionDef):
            yield node
            yield from _within(node)

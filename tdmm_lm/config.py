"""From YAML to checked settings, and from a name in YAML to the file of that name."""

import importlib
import pkgutil
import re
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError


class Settings(BaseModel):
    """Base of every settings class: unknown keys are errors, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


S = TypeVar("S", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads ``1e-4`` as a number, which YAML 1.1 (and so PyYAML) calls a string."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


def parse(text: str, where: str = "yaml") -> Any:
    """Plain data from YAML text.

    Raises:
        ValueError: the text is not YAML; the message carries ``where`` and the line.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{where}: expected YAML, got {' '.join(str(error).split())}") from None


def read(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not YAML, or not a mapping at its top.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a YAML file, found none.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected YAML in UTF-8, got other bytes at {error.start}.") from None
    data = parse(text, str(path))
    if not isinstance(data, dict):
        raise ValueError(f"{path}: expected a mapping at the top, got {type(data).__name__}.")
    return data


def override(data: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """A copy of ``data`` with ``key.sub=value`` assignments applied; values are read as YAML.

    Raises:
        ValueError: an assignment has no ``=``, or its path runs through something that is no mapping.
    """
    result: dict[str, Any] = {**data}
    for assignment in assignments:
        dotted, equals, value = assignment.partition("=")
        if not equals or not dotted:
            raise ValueError(f"{assignment!r}: expected key.sub=value.")
        node = result
        *parents, last = dotted.split(".")
        for name in parents:
            child = node.get(name)
            if child is not None and not isinstance(child, dict):
                raise ValueError(f"{dotted}: expected a section at {name!r}, got {child!r}.")
            node[name] = {**(child or {})}
            node = node[name]
        node[last] = parse(value, dotted)
    return result


def check(kind: type[S], data: dict[str, Any], where: str) -> S:
    """``data`` as a settings object.

    Raises:
        ValueError: one line naming every key that is wrong, what was expected and what came.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        faults = []
        for fault in error.errors():
            key = ".".join(str(part) for part in fault["loc"])
            if fault["type"] == "extra_forbidden":
                faults.append(f"{key}: unknown key; known: {', '.join(_fields(kind, fault['loc']))}")
            elif fault["type"] == "missing":
                faults.append(f"{key}: expected a value, found none")
            elif fault["type"] == "value_error":  # our own words, which say what came
                faults.append(": ".join(part for part in (key, str(fault["ctx"]["error"]).rstrip(".")) if part))
            else:
                faults.append(f"{key}: {fault['msg'].replace('tuple', 'list')}, got {fault['input']!r}")
        raise ValueError(f"{where}: {'; '.join(faults)}.") from None


def _fields(kind: type[BaseModel], place: tuple[int | str, ...]) -> dict[str, None]:
    """The keys known beside the last of a path; numbers and names of a mapping's entries lead no deeper."""
    here = [kind]
    for part in place[:-1]:
        fields = [model.model_fields[part].annotation for model in here if part in model.model_fields]
        here = [model for annotation in fields for model in _models(annotation)] or here
    return dict.fromkeys(name for model in here for name in model.model_fields)


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inside in get_args(annotation) for model in _models(inside)]


def load(kind: type[S], path: str | Path, assignments: list[str] | None = None) -> S:
    """A YAML file with command-line overrides, checked against ``kind``."""
    return check(kind, override(read(path), assignments or []), str(path))


def known(kind: str) -> list[str]:
    """The names a choice folder offers: its files, without ``__init__``."""
    package = importlib.import_module(f"tdmm_lm.{kind}")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def find(kind: str, name: str) -> ModuleType:
    """The module ``tdmm_lm.<kind>.<name>``, or a user's own where ``name`` is dotted.

    Never call it with a name that came over the network: a dotted name imports anything.

    Raises:
        ValueError: no such choice; the known ones are listed.
    """
    if "." in name:
        return importlib.import_module(name)
    if name not in known(kind):
        raise ValueError(f"{kind}: expected one of {', '.join(known(kind))}, got {name!r}.")
    return importlib.import_module(f"tdmm_lm.{kind}.{name}")

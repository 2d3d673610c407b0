"""Public names carry numpydoc docstrings; the checks are in pyproject.toml."""

import importlib
import inspect
import re
import tomllib
from pathlib import Path

import pytest
from numpydoc.validate import validate

ROOT = Path(__file__).resolve().parents[1]
TOOL = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
CHECKS = set(TOOL["numpydoc_validation"]["checks"])
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "openmm_backmap").rglob("*.py")
    if path.name not in ("__init__.py", "__main__.py")
)


def public_names(module):
    """Yield dotted names of public functions, classes and methods."""
    for name in getattr(module, "__all__", ()):
        thing = getattr(module, name)
        if getattr(thing, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(thing):
            yield f"{module.__name__}.{name}"
        elif inspect.isclass(thing):
            yield f"{module.__name__}.{name}"
            for method, value in vars(thing).items():
                is_public = not method.startswith("_") and inspect.isfunction(
                    inspect.unwrap(getattr(value, "__func__", value))
                )
                if is_public:
                    yield f"{module.__name__}.{name}.{method}"


@pytest.mark.parametrize("module_name", MODULES)
def test_docstrings_are_numpydoc(module_name):
    module = importlib.import_module(module_name)
    problems = []
    for name in public_names(module):
        for code, text in validate(name)["errors"]:
            if code in CHECKS:
                problems.append(f"{name}: {code} {text}")
    assert not problems, "\n" + "\n".join(problems)


@pytest.mark.parametrize("module_name", MODULES)
def test_module_says_what_it_is(module_name):
    source = (ROOT / Path(*module_name.split("."))).with_suffix(".py").read_text()
    assert re.match(r'^(r?""").+', source), f"{module_name} has no docstring"

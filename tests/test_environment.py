"""setup.py and environment.yml say the same."""

import ast
import re
import runpy
import sys
from pathlib import Path
from unittest import mock

import pytest
import setuptools
import yaml

ROOT = Path(__file__).resolve().parents[1]
CONDA_NAME = {"torch": "pytorch", "dask[distributed]": "dask"}
SPEC = re.compile(r"^([A-Za-z0-9_.\-]+(?:\[[a-z,]+\])?) ?>= ?([0-9.]+)$")
# the engines of the examples have upper bounds and Pythons of their own
ENGINE = re.compile(
    r"^([a-z]+) ?>= ?([0-9.]+(?:,<[0-9.]+)?(?:; [a-z_]+ < \"[0-9.]+\")?)$"
)


@pytest.fixture(scope="module")
def metadata() -> dict:
    """Give the keyword arguments with which setup.py calls setup()."""
    with mock.patch.object(setuptools, "setup") as setup:
        runpy.run_path(str(ROOT / "setup.py"))
    return setup.call_args.kwargs


@pytest.fixture(scope="module")
def environment() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


def split(spec: str) -> tuple[str, str]:
    match = SPEC.match(spec) or ENGINE.match(spec)
    assert match, f"{spec!r} is not NAME>=VERSION"
    return match.group(1), match.group(2)


def test_environment_lists_every_requirement_with_the_same_bound(
    metadata: dict, environment: dict
) -> None:
    wanted = {}
    for specs in (metadata["install_requires"], *metadata["extras_require"].values()):
        for spec in specs:
            name, bound = split(spec)
            name = CONDA_NAME.get(name, name)
            assert wanted.setdefault(name, bound) == bound, f"two bounds for {name}"

    listed = {}
    for entry in environment["dependencies"]:
        if isinstance(entry, dict):
            for line in entry["pip"]:
                if not line.startswith("-"):
                    listed.update([split(line)])
        elif not entry.startswith(("python ", "pip")):
            listed.update([split(entry)])
    assert listed == wanted


def test_the_library_itself_has_lower_bounds_only(metadata: dict) -> None:
    extras = metadata["extras_require"]
    others = [specs for name, specs in extras.items() if name != "examples"]
    for specs in (metadata["install_requires"], *others):
        assert all(SPEC.match(spec) for spec in specs)


def test_python_range_is_the_same(metadata: dict, environment: dict) -> None:
    python = next(
        entry
        for entry in environment["dependencies"]
        if isinstance(entry, str) and entry.startswith("python ")
    )
    assert python.split(maxsplit=1)[1] == metadata["python_requires"]
    assert environment["channels"] == ["conda-forge"]


def test_packaged_files_match_the_declared_patterns(metadata: dict) -> None:
    """Each data file under the package is matched by package_data."""
    package = ROOT / "openmm_backmap"
    for path in package.rglob("*"):
        if not path.is_file() or path.suffix in (".py", ".pyc"):
            continue
        name = ".".join(path.parent.relative_to(ROOT).parts)
        patterns = metadata["package_data"].get(name, [])
        assert any(path.match(pattern) for pattern in patterns), (
            f"{path.relative_to(ROOT)} would not be installed: add a pattern for "
            f"{name} to package_data in setup.py"
        )


def test_entry_point_is_the_command(metadata: dict) -> None:
    assert metadata["entry_points"]["console_scripts"] == [
        "openmm-backmap = openmm_backmap.cli.main:main"
    ]


def test_every_import_of_the_package_is_a_declared_requirement(metadata: dict) -> None:
    """Third-party modules are in install_requires or, inside functions, extras."""
    module_of = {
        "dask_jobqueue": "dask-jobqueue",
        "distributed": "dask",
        "yaml": "pyyaml",
    }
    declared = {re.split(r"[>\[]", spec)[0] for spec in metadata["install_requires"]}
    extras = {
        re.split(r"[>\[]", spec)[0]
        for specs in metadata["extras_require"].values()
        for spec in specs
    }
    for path in (ROOT / "openmm_backmap").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module]
            else:
                continue
            for name in names:
                top = name.split(".")[0]
                if top in sys.stdlib_module_names or top == "openmm_backmap":
                    continue
                where = f"{path.relative_to(ROOT)}:{node.lineno} imports {name}"
                assert module_of.get(top, top) in declared | extras, where

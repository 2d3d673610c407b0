"""The floors of docs/architecture.md hold: imports go down only."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "openmm_backmap"
FLOORS = {
    "residues": 0, "data": 0, "units": 0, "errors": 0, "_version": 0,
    "geometry": 1, "torch_threads": 1, "paths": 1, "line_file": 1,
    "worker_process": 1,
    "mapping": 2, "frames": 2, "builder": 2,
    "packing": 3, "artifact": 3, "nn": 3,
    "backmapper": 4, "hydrogens": 4, "hydrogen_groups": 4, "phosphates": 4,
    "minimizer": 4,
    "minimizer_system": 4, "minimizer_restraints": 4, "trajectory": 4, "metrics": 4,
    "backmapper_batch": 4, "backmapper_input": 4, "backmapper_pieces": 4,
    "backmapper_beads": 4, "backmapper_template": 4, "backmapper_frames": 4,
    "backmapper_disulfides": 4,
    "output": 4, "output_topology": 4,
    "reporter": 5, "reporter_setup": 5, "reporter_outputs": 5, "reporter_worker": 5,
    "pipeline": 5,
    "frame_processor": 5, "parallel": 5, "parallel_dask": 5,
    "metrics_table": 5, "benchmark": 5, "training": 5, "generate": 5, "testsystems": 5,
    "cli": 6, "__init__": 6, "__main__": 6,
}  # fmt: skip
STRANGERS = {("artifact", "nn"), ("nn", "artifact"), ("packing", "nn"),
             ("packing", "artifact")}  # fmt: skip
MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    """Name the part of the house a file belongs to."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imports_of(path: Path) -> Iterator[tuple[str, int, bool]]:
    """Yield (dotted name, line, whether it runs at import) of each import."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    # inside of functions, and of "if TYPE_CHECKING:"
    inside = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING")
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        at_import = id(node) not in inside
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, at_import
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield node.module, node.lineno, at_import
            # "from openmm_backmap import metrics" means the module metrics
            if node.module == "openmm_backmap":
                for alias in node.names:
                    yield f"openmm_backmap.{alias.name}", node.lineno, at_import


@pytest.mark.parametrize(
    "path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)).replace("\\", "/")
)
def test_imports_go_down_the_floors_only(path: Path) -> None:
    room = room_of(path)
    assert room in FLOORS, f"{path}: give {room} a floor in tests/test_layers.py"
    for name, line, at_import in imports_of(path):
        where = f"{path.relative_to(PACKAGE)}:{line}"
        top = name.split(".")[0]
        if name.startswith("openmm_backmap."):
            other = name.split(".")[1]
            other = other if other in FLOORS else "__init__"
            assert FLOORS[other] <= FLOORS[room], f"{where} imports up: {name}"
            assert (room, other) not in STRANGERS, f"{where}: {room} imports {other}"
        if top == "e3nn":
            assert room in ("nn", "training"), f"{where}: e3nn is for nn and training"
        if top == "matplotlib":
            assert not at_import, f"{where}: matplotlib belongs inside functions"
        if top in ("torch", "openmm", "mdtraj"):
            assert FLOORS[room] > 0 or not at_import, where


def test_importing_the_package_loads_no_heavy_library() -> None:
    code = (
        "import sys, openmm_backmap; "
        "print([m for m in ('torch', 'openmm', 'e3nn', 'mdtraj', 'matplotlib')"
        " if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[]"


def test_running_a_model_does_not_load_e3nn() -> None:
    code = "import sys, openmm_backmap.backmapper; print('e3nn' in sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "False"


def test_every_folder_of_code_is_a_package_with_exports() -> None:
    for path in MODULES:
        assert (path.parent / "__init__.py").exists(), f"{path.parent} has no __init__"
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {
            target.id
            for node in tree.body
            if isinstance(node, ast.Assign | ast.AnnAssign)
            for target in (
                node.targets if isinstance(node, ast.Assign) else [node.target]
            )
            if isinstance(target, ast.Name)
        }
        if tree.body[1:]:  # more than a docstring
            assert "__all__" in names, f"{path.relative_to(PACKAGE)} has no __all__"

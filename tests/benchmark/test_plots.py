"""Pictures: what is drawn is what the rows and the structure say."""

import subprocess
import sys

import numpy as np
import pytest
from openmm import app

from openmm_backmap.benchmark.plots import (
    plot_clashes,
    plot_energies,
    plot_run,
    read_metrics,
)
from openmm_backmap.benchmark.render import choose_view, draw_atoms, find_limits

ROWS = """step,time_ps,stage,clashes_per_1000,energy_before,energy_after
0,0,model,2.5,,
0,0,minimized,0,-1000.0,-5000.0
200,2000,model,0.0,,
200,2000,minimized,0,-1500.0,-5200.0
"""


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text(ROWS)
    return read_metrics(path)


@pytest.fixture
def axes():
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(dpi=60)
    FigureCanvasAgg(figure)
    return figure.add_subplot()


def drawn(axes):
    return {line.get_label(): line.get_xydata().tolist() for line in axes.lines}


def test_energies_are_those_of_the_minimized_rows(rows, axes):
    plot_energies(axes, rows)
    assert drawn(axes) == {
        "raw model output": [[0.0, -1000.0], [2.0, -1500.0]],
        "minimized": [[0.0, -5000.0], [2.0, -5200.0]],
    }
    assert axes.get_yscale() == "linear"


def test_huge_energies_get_a_logarithmic_axis(rows, axes):
    rows[1]["energy_before"] = 7.6e7
    plot_energies(axes, rows)
    assert axes.get_yscale() == "symlog"


def test_clashes_of_zero_are_drawn_too(rows, axes):
    plot_clashes(axes, rows)
    assert drawn(axes) == {
        "raw model output": [[0.0, 2.5], [2.0, 0.0]],
        "minimized": [[0.0, 0.0], [2.0, 0.0]],
    }


def test_run_without_minimization_says_so(rows, axes):
    plot_energies(axes, [row for row in rows if row["stage"] == "model"])
    assert [text.get_text() for text in axes.texts] == ["no such rows"]


def test_view_is_a_rotation_that_shows_the_widest_side(rng):
    points = rng.normal(size=(200, 3)) * np.array([1.0, 5.0, 2.0])
    view = choose_view(points)
    np.testing.assert_allclose(view @ view.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(view) == pytest.approx(1.0)
    turned = (points - points.mean(axis=0)) @ view.T
    assert turned.std(axis=0).tolist() == sorted(turned.std(axis=0), reverse=True)
    limits = find_limits(points, view, margin=0.5)
    assert (turned > limits[0]).all() and (turned < limits[1]).all()


def test_every_bond_is_drawn_in_two_halves(protein_path, axes):
    file = app.PDBFile(str(protein_path))
    positions = file.getPositions(asNumpy=True)._value
    draw_atoms(axes, positions, file.topology)
    # each half has a rim, a body and a highlight
    n_lines = sum(len(c.get_segments()) for c in axes.collections)
    assert n_lines == 3 * 2 * file.topology.getNumBonds()


def test_picture_of_a_run_is_written(protein_path, tmp_path, rows):
    file = app.PDBFile(str(protein_path))
    positions = file.getPositions(asNumpy=True)._value
    ca = [atom.index for atom in file.topology.atoms() if atom.name == "CA"]
    path = plot_run(
        tmp_path / "run.png",
        beads=positions[ca],
        chain_index=np.zeros(len(ca), int),
        atoms=positions,
        topology=file.topology,
        rows=rows,
        title="a run",
    )
    from matplotlib.image import imread

    picture = imread(path)
    assert picture.shape[:2] == (1230, 1650)
    # both structures left ink in their halves of the page
    for half in (picture[150:700, :800], picture[150:700, 850:]):
        assert (half[..., :3].min(axis=2) < 0.8).mean() > 0.05


def test_drawing_leaves_pyplot_alone():
    code = (
        "import sys, openmm_backmap.benchmark.plots; print('matplotlib' in sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "False"

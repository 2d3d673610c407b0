"""Draw molecules with matplotlib: shaded beads, and balls and sticks.

No molecular viewer is needed. Depth is shown by drawing from back to front, by
fading into the background, and by a dark rim around what lies in front.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["choose_view", "draw_atoms", "draw_beads", "find_limits"]

_ELEMENT_COLOR = {"N": "#3050d8", "O": "#e0301e", "S": "#d9b21c", "H": "#f4f4f4"}
_CARBON_MAP = "turbo"
_FADE = 0.55  # of the farthest part into the background
_N_LAYERS = 60


def choose_view(positions: np.ndarray) -> np.ndarray:
    """Find the rotation that shows a molecule at its widest.

    Parameters
    ----------
    positions : numpy.ndarray, shape (N, 3)
        Points in nm.

    Returns
    -------
    numpy.ndarray, shape (3, 3)
        Proper rotation; ``(x - mean) @ view.T`` has its widest extent along
        x, the next along y, and z towards the viewer.
    """
    centered = positions - positions.mean(axis=0)
    _, _, axes = np.linalg.svd(centered, full_matrices=False)
    axes[2] *= np.sign(np.linalg.det(axes))
    return axes


def _project(positions: np.ndarray, view: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points on the page (N, 2) and their depth (N,), 0 far to 1 near."""
    turned = (positions - positions.mean(axis=0)) @ view.T
    z = turned[:, 2]
    depth = (z - z.min()) / max(np.ptp(z), 1e-9)
    # a little perspective: near parts are 6 % larger than far ones
    return turned[:, :2] * (0.97 + 0.06 * depth[:, None]), depth


def _fade(colors: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Mix colours (N, 3) with white by depth."""
    amount = (_FADE * (1.0 - depth) ** 1.2)[:, None]
    return colors * (1.0 - amount) + amount


def _residue_colors(n: int) -> np.ndarray:
    """Colours from the first residue (blue) to the last (red); (n, 3)."""
    from matplotlib import colormaps

    bright = colormaps[_CARBON_MAP](np.linspace(0.06, 0.94, n))[:, :3]
    # softer than the colours of atoms that are not carbon
    return 0.72 * bright + 0.28 * 0.85


def find_limits(
    positions: np.ndarray, view: np.ndarray, margin: float = 0.15
) -> np.ndarray:
    """Find the page that a molecule needs.

    Parameters
    ----------
    positions : numpy.ndarray, shape (N, 3)
        Points in nm.
    view : numpy.ndarray, shape (3, 3)
        Rotation of the picture.
    margin : float
        Around the points in nm.

    Returns
    -------
    numpy.ndarray, shape (2, 3)
        Lowest and highest x and y in nm about the mean position; the third
        column, the depth, is not used.
    """
    turned = (positions - positions.mean(axis=0)) @ view.T
    return np.stack([turned.min(axis=0) - margin, turned.max(axis=0) + margin])


def _set_limits(axes: "Axes", limits: np.ndarray) -> None:
    axes.set_xlim(limits[0, 0], limits[1, 0])
    axes.set_ylim(limits[0, 1], limits[1, 1])
    axes.set_aspect("equal")
    axes.axis("off")


def _points_per_nm(axes: "Axes") -> float:
    """Size of 1 nm on the page in points, for line widths and markers."""
    figure = axes.figure
    figure.canvas.draw()
    width = axes.get_window_extent().width
    left, right = axes.get_xlim()
    return width / (right - left) * 72.0 / figure.dpi


def draw_beads(
    axes: "Axes",
    positions: np.ndarray,
    chain_index: np.ndarray | None = None,
    *,
    view: np.ndarray | None = None,
    limits: np.ndarray | None = None,
    radius: float = 0.17,
) -> None:
    """Draw one bead a residue, joined along each chain.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Where to draw; limits are set and the frame is hidden.
    positions : numpy.ndarray, shape (R, 3)
        Beads in nm.
    chain_index : numpy.ndarray or None, shape (R,)
        Chain of each bead. If None, there is one.
    view : numpy.ndarray or None, shape (3, 3)
        Rotation of the picture. If None, from `choose_view`.
    limits : numpy.ndarray or None, shape (2, 3)
        The page, from `find_limits`. If None, what the beads need.
    radius : float
        Of a bead in nm.
    """
    positions = np.asarray(positions, float)
    view = choose_view(positions) if view is None else view
    points, depth = _project(positions, view)
    if chain_index is None:
        chain_index = np.zeros(len(positions), int)
    colors = _fade(_residue_colors(len(positions)), depth)
    limits = find_limits(positions, view, 2.0 * radius) if limits is None else limits
    _set_limits(axes, limits)
    scale = _points_per_nm(axes)
    joined = np.flatnonzero(np.diff(chain_index) == 0)
    segments = [
        (points[[i, i + 1]], 0.5 * (depth[i] + depth[i + 1]), colors[i]) for i in joined
    ]
    _draw_sticks(axes, segments, 0.45 * radius * 2.0 * scale)
    order = np.argsort(depth)
    # a sphere: discs that shrink and brighten towards the light, up and left
    for k, (size, light) in enumerate(((1.0, 0.0), (0.72, 0.25), (0.38, 0.6))):
        moved = points + (1.0 - size) * radius * np.array([-0.30, 0.38])
        shaded = colors * (1.0 - light) + light
        for layer, chosen in enumerate(np.array_split(order, _N_LAYERS)):
            if len(chosen) == 0:
                continue
            axes.scatter(
                *moved[chosen].T,
                s=(2.0 * radius * size * scale) ** 2,
                c=shaded[chosen],
                edgecolors=_rim(colors[chosen]) if k == 0 else "none",
                linewidths=0.6 if k == 0 else 0.0,
                zorder=2.0 + layer + 0.2 * k + 0.1,
            )


def _rim(colors: np.ndarray) -> np.ndarray:
    return colors * 0.45


def _draw_sticks(
    axes: "Axes", segments: list[tuple[np.ndarray, float, np.ndarray]], width: float
) -> None:
    """Draw lines from back to front, each with a dark rim."""
    from matplotlib.collections import LineCollection

    if not segments:
        return
    depth = np.array([d for _, d, _ in segments])
    layer = np.minimum((depth * _N_LAYERS).astype(int), _N_LAYERS - 1)
    for k in np.unique(layer):
        chosen = [segments[i] for i in np.flatnonzero(layer == k)]
        lines = [line for line, _, _ in chosen]
        colors = np.array([color for _, _, color in chosen])
        # far sticks are thinner
        size = width * (0.75 + 0.35 * k / _N_LAYERS)
        for shade, wide, z in ((_rim(colors), size + 0.9, 0.0), (colors, size, 0.05)):
            axes.add_collection(
                LineCollection(
                    lines, colors=shade, linewidths=wide, capstyle="round",
                    zorder=2.0 + k + z,
                )
            )  # fmt: skip
        bright = colors * 0.45 + 0.55
        axes.add_collection(
            LineCollection(
                [line + 0.15 * np.array([-0.02, 0.03]) for line in lines],
                colors=bright, linewidths=0.28 * size, capstyle="round",
                zorder=2.0 + k + 0.07, alpha=0.7,
            )
        )  # fmt: skip


def draw_atoms(
    axes: "Axes",
    positions: np.ndarray,
    topology: Any,
    *,
    view: np.ndarray | None = None,
    limits: np.ndarray | None = None,
    hydrogens: bool = False,
    stick_width: float = 0.045,
) -> None:
    """Draw all atoms as sticks: carbons by residue, other elements by kind.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Where to draw; limits are set and the frame is hidden.
    positions : numpy.ndarray, shape (N, 3)
        Atoms in nm.
    topology : openmm.app.Topology
        Their residues, elements and bonds.
    view : numpy.ndarray or None, shape (3, 3)
        Rotation of the picture. If None, from `choose_view`.
    limits : numpy.ndarray or None, shape (2, 3)
        The page, from `find_limits`. If None, what the atoms need.
    hydrogens : bool
        Whether hydrogens are drawn.
    stick_width : float
        Width of a bond in nm.
    """
    from matplotlib.colors import to_rgb

    positions = np.asarray(positions, float)
    view = choose_view(positions) if view is None else view
    points, depth = _project(positions, view)
    atoms = list(topology.atoms())
    residue = np.array([atom.residue.index for atom in atoms])
    symbols = [atom.element.symbol for atom in atoms]
    colors = _residue_colors(residue.max() + 1)[residue]
    for i, symbol in enumerate(symbols):
        if symbol in _ELEMENT_COLOR:
            colors[i] = to_rgb(_ELEMENT_COLOR[symbol])
    colors = _fade(colors, depth)
    _set_limits(axes, find_limits(positions, view) if limits is None else limits)
    scale = _points_per_nm(axes)
    # each bond in two halves, each in the colour of its atom
    heavy, light = [], []
    for bond in topology.bonds():
        i, j = bond.atom1.index, bond.atom2.index
        has_hydrogen = "H" in (symbols[i], symbols[j])
        if has_hydrogen and not hydrogens:
            continue
        middle = 0.5 * (points[i] + points[j])
        halves = light if has_hydrogen else heavy
        for a in (i, j):
            halves.append((np.array([points[a], middle]), depth[a], colors[a]))
    _draw_sticks(axes, heavy, stick_width * scale)
    _draw_sticks(axes, light, 0.45 * stick_width * scale)

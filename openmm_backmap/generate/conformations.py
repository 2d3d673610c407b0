"""Random disordered conformations: coil-like phi and psi, library rotamers."""

import math

import numpy as np
import torch
from torch import Tensor

from openmm_backmap.builder.backbone import place_carbonyl_oxygen, place_cb
from openmm_backmap.builder.side_chain import build_side_chains
from openmm_backmap.builder.tables import BuilderTables, load_builder_tables
from openmm_backmap.errors import GeometryError
from openmm_backmap.geometry.internal import place_atom
from openmm_backmap.metrics.clashes import find_overlaps
from openmm_backmap.metrics.layout import HeavyAtomLayout
from openmm_backmap.nn.rotamer_library import RotamerLibrary
from openmm_backmap.residues.ideal import TRANS, TRANS_BEFORE_PROLINE
from openmm_backmap.residues.names import CODES
from openmm_backmap.residues.ramachandran import OUTLIER_MAP
from openmm_backmap.units import ANGSTROM, DEGREE

__all__ = ["ConformationSampler"]

_GLYCINE, _PROLINE = CODES.index("G"), CODES.index("P")

# Share, phi, psi and their spreads in degrees of polyproline II, beta, alpha,
# left-handed alpha and the inverse gamma turn. The shares are ours, near those
# of coil libraries: Jha et al., Biochemistry 44, 9691 (2005).
_BASINS = {
    "general": (
        (0.38, -68, 146, 15, 20), (0.28, -118, 135, 24, 24), (0.26, -72, -32, 18, 20),
        (0.05, 58, 40, 9, 14), (0.03, -85, 72, 10, 16),
    ),
    "glycine": (
        (0.24, -70, 155, 15, 20), (0.14, -150, 175, 25, 20), (0.16, -72, -28, 15, 20),
        (0.24, 75, 20, 15, 25), (0.14, 95, -175, 25, 20), (0.08, 70, -150, 12, 20),
    ),
    "proline": ((0.72, -68, 148, 10, 16), (0.28, -66, -28, 9, 14)),
    "before_proline": (
        (0.50, -68, 146, 14, 16), (0.38, -120, 115, 24, 24), (0.08, -65, -45, 10, 9),
        (0.04, 55, 48, 8, 10),
    ),
}  # fmt: skip
_N_BACKBONES = 16  # drawn at once
_N_DRAWS = 30  # times, before giving up
_N_ROTAMERS = 4  # draws of side chains a backbone
_OVERLAP = 0.09  # nm; more is a clash, what is left the minimizer resolves
_POLAR_ALLOWANCE = 0.04  # nm
_N_MOST = 81  # rotamers of the library that are drawn from


class ConformationSampler:
    """Draw conformations of disordered chains.

    Phi and psi come from basins of the coil state, inside of the outlier
    contours of `residues.ramachandran`; chi from a backbone-dependent library.
    All peptides are trans.

    Parameters
    ----------
    library : RotamerLibrary
        Or a scripted one, as in the packaged model `table`.
    """

    def __init__(self, library: RotamerLibrary | torch.jit.ScriptModule) -> None:
        self._library = library
        self._tables = load_builder_tables()
        self._maps = {
            name: np.array([[mark == "#" for mark in row] for row in rows])
            for name, rows in OUTLIER_MAP.items()
        }

    def sample(self, residue_type: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw one conformation without clashes.

        Parameters
        ----------
        residue_type : numpy.ndarray, shape (R,)
            0 to 19.
        rng : numpy.random.Generator
            Where all chance comes from.

        Returns
        -------
        numpy.ndarray, shape (R, 14, 3), float32
            Heavy atoms in nm, zeros in absent slots.

        Raises
        ------
        GeometryError
            If every draw clashes.
        """
        layout = HeavyAtomLayout.from_residues(residue_type)
        types = torch.from_numpy(np.asarray(residue_type, np.int64))
        for _ in range(_N_DRAWS):
            phi, psi = self.draw_phi_psi(residue_type, _N_BACKBONES, rng)
            backbone = _grow_backbone(phi, psi, types, self._tables)
            far = _has_no_contact(backbone.numpy())
            for k in np.flatnonzero(far)[:3]:
                atoms = self._draw_side_chains(backbone[k], types, rng)
                found = find_overlaps(
                    atoms, layout, _OVERLAP, polar_allowance=_POLAR_ALLOWANCE
                )
                count = [len(pairs) for pairs in found]
                if min(count) == 0:
                    return atoms[count.index(0)]
        raise GeometryError(
            f"no conformation without clashes of {len(residue_type)} residues after "
            f"{_N_DRAWS * _N_BACKBONES} draws: take another seed, or a shorter sequence"
        )

    def draw_phi_psi(
        self, residue_type: np.ndarray, n: int, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Draw backbone torsions of a coil.

        Parameters
        ----------
        residue_type : numpy.ndarray, shape (R,)
            0 to 19.
        n : int
            Conformations F.
        rng : numpy.random.Generator
            Where all chance comes from.

        Returns
        -------
        phi, psi : torch.Tensor, shape (F, R)
            Radians, float32.
        """
        angles = np.zeros((2, n, len(residue_type)))
        for i, kind in enumerate(residue_type):
            name = "general"
            if kind == _GLYCINE:
                name = "glycine"
            elif kind == _PROLINE:
                name = "proline"
            elif i + 1 < len(residue_type) and residue_type[i + 1] == _PROLINE:
                name = "before_proline"
            angles[:, :, i] = self._draw_in_map(name, n, rng)
        first, second = torch.from_numpy(angles * DEGREE).float()
        return first, second

    def _draw_in_map(
        self, name: str, n: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Phi and psi in degrees inside of the contour of a class; (n,) each."""
        rows = np.array(_BASINS[name], float)
        allowed = self._maps[name]
        phi, psi = np.zeros(n), np.zeros(n)
        left = np.arange(n)
        while len(left):
            basin = rows[rng.choice(len(rows), len(left), p=rows[:, 0])]
            noise = rng.standard_normal((2, len(left)))
            draw = basin[:, 1:3].T + basin[:, 3:5].T * noise
            draw = (draw + 180.0) % 360.0 - 180.0
            phi[left], psi[left] = draw
            bins = np.minimum(((draw + 180.0) // 10.0).astype(int), 35)
            left = left[~allowed[35 - bins[1], bins[0]]]
        return phi, psi

    def _draw_side_chains(
        self, backbone: Tensor, types: Tensor, rng: np.random.Generator
    ) -> np.ndarray:
        """Heavy atoms of a backbone with rotamers drawn a few times."""
        chain = torch.zeros_like(types)
        chi, log_p = self._library(backbone[None], types, chain, _N_MOST)
        share = log_p[0].double().exp().numpy()
        cumulative = np.cumsum(share, axis=1)
        pick = rng.random((_N_ROTAMERS, len(types), 1)) * cumulative[:, -1:]
        choice = np.minimum((pick > cumulative).sum(-1), share.shape[1] - 1)
        drawn = chi[0].numpy()[np.arange(len(types)), choice]
        spread = self._library.spread[types].numpy()
        drawn = drawn + spread * rng.standard_normal(drawn.shape)
        drawn = (drawn + math.pi) % (2.0 * math.pi) - math.pi
        stack = backbone.expand(_N_ROTAMERS, -1, -1, -1)
        angles = torch.from_numpy(drawn).float()
        return build_side_chains(stack, types, angles, self._tables).numpy()


def _grow_backbone(
    phi: Tensor, psi: Tensor, types: Tensor, tables: BuilderTables
) -> Tensor:
    """N, CA, C, O, CB of F chains, all trans; (F, R, 5, 3) nm."""
    n_frames, n = phi.shape
    full = torch.ones_like(phi[:, 0])
    n_ca_c = tables.n_ca_c[types]
    first = TRANS[2] * ANGSTROM
    a = full.new_tensor([0.0, 0.0, 0.0]).expand(n_frames, 3)
    b = full.new_tensor([first, 0.0, 0.0]).expand(n_frames, 3)
    angle = float(n_ca_c[0])
    ca_c = TRANS[0] * ANGSTROM
    offset = full.new_tensor([-math.cos(angle), math.sin(angle), 0.0]) * ca_c
    atoms = [a, b, b + offset]
    for i in range(1, n + 1):
        # the N after the last residue only places its O
        is_proline = i < n and int(types[i]) == _PROLINE
        unit = TRANS_BEFORE_PROLINE if is_proline else TRANS
        ca_c, c_n, n_ca = (length * ANGSTROM for length in unit[:3])
        angle_c, angle_n = (value * DEGREE for value in unit[3:5])
        steps = [(c_n, angle_c, psi[:, i - 1])]
        if i < n:
            omega = full * math.pi
            steps.append((n_ca, angle_n, omega))
            steps.append((ca_c, float(n_ca_c[i]), phi[:, i]))
        for length, bend, torsion in steps:
            last = place_atom(*atoms[-3:], full * length, full * bend, torsion)
            atoms.append(last)
    nitrogen = torch.stack(atoms[0::3], 1)
    ca = torch.stack(atoms[1::3], 1)
    carbon = torch.stack(atoms[2::3], 1)
    oxygen = place_carbonyl_oxygen(ca, carbon, nitrogen[:, 1:])
    cb = place_cb(nitrogen[:, :n], ca, carbon, types, tables)
    return torch.stack((nitrogen[:, :n], ca, carbon, oxygen, cb), 2)


def _has_no_contact(backbone: np.ndarray, least: float = 0.29) -> np.ndarray:
    """Whether N, C, O and CB of residues three or more apart keep away; (F,)."""
    n_frames, n = backbone.shape[:2]
    points = backbone.reshape(n_frames, n * 5, 3)
    square = ((points[:, :, None] - points[:, None]) ** 2).sum(-1)
    residue = np.repeat(np.arange(n), 5)
    apart = residue[None] - residue[:, None] >= 3
    return (square[:, apart] > least**2).all(axis=1)

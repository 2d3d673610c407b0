"""Restraints of the Minimizer: CA in place, hands and peptides as they are."""

import numpy as np
import openmm

from openmm_backmap.mapping.atom_topology import AtomTopology
from openmm_backmap.residues.atoms import ATOM_SLOT
from openmm_backmap.residues.names import CODES, RESIDUE_NAMES

__all__ = [
    "RESTRAINT_GROUP",
    "count_turned",
    "list_hands",
    "list_peptides",
    "restrain_ca",
    "restrain_shapes",
    "set_peptide_sides",
]

RESTRAINT_GROUP = 1
"""Force group of all restraints, which is not in the energies."""

_CENTERS = (
    # residues (all with a CB if None), centre and three substituents, of which
    # the improper torsion is near +35 degrees for the natural hand
    (None, ("CA", "N", "C", "CB")),
    ("I", ("CB", "CA", "CG1", "CG2")),
    ("T", ("CB", "CA", "OG1", "CG2")),
)
_HAND_STRENGTH = 5000.0  # kJ/mol/rad^2
_HAND_LIMIT = 0.35  # rad; the improper torsion is 0.60 +- 0.04 when relaxed
_PEPTIDE_STRENGTH = 300.0  # kJ/mol; 190 at 90 degrees, 970 on the other side
_PEPTIDE_LIMIT = 0.8  # cosine of 37 degrees off the plane
_CLEAR_VOLUME = 0.0012  # nm^3, half of the volume of a centre
_CLEAR_COSINE = 0.7


def restrain_ca(top: AtomTopology, strength: float) -> openmm.CustomExternalForce:
    """Tie every CA with a spring to a point that is set for each frame.

    Parameters
    ----------
    top : AtomTopology
        Topology of the frames.
    strength : float
        Force constant in kJ/mol/nm^2.

    Returns
    -------
    openmm.CustomExternalForce
        Particle k of it is the CA of residue k; parameters x0, y0, z0 in nm.
    """
    force = openmm.CustomExternalForce(f"{0.5 * strength}*((x-x0)^2+(y-y0)^2+(z-z0)^2)")
    for name in ("x0", "y0", "z0"):
        force.addPerParticleParameter(name)
    for atom in top.ca_atom.tolist():
        force.addParticle(atom, [0.0, 0.0, 0.0])
    force.setForceGroup(RESTRAINT_GROUP)
    return force


def list_hands(top: AtomTopology) -> np.ndarray:
    """List the chiral centres: CA, and CB of isoleucine and threonine.

    Parameters
    ----------
    top : AtomTopology
        Topology of the frames.

    Returns
    -------
    numpy.ndarray, shape (n, 4), int64
        Atoms: the centre and three substituents, see `compute_wrong_hands` of
        `openmm_backmap.metrics`.
    """
    rows = []
    for code, names in _CENTERS:
        for kind in range(len(RESIDUE_NAMES)):
            slots = ATOM_SLOT[kind]
            if code not in (None, CODES[kind]) or not all(n in slots for n in names):
                continue
            residue = np.flatnonzero(top.cg.residue_type == kind)
            rows.append(top.slot_atom[residue][:, [slots[n] for n in names]])
    return np.concatenate(rows)


def list_peptides(top: AtomTopology) -> np.ndarray:
    """List the omega torsions.

    Parameters
    ----------
    top : AtomTopology
        Topology of the frames.

    Returns
    -------
    numpy.ndarray, shape (n, 4), int64
        Atoms CA and C of a residue, N and CA of the next.
    """
    first = np.flatnonzero(np.diff(top.cg.chain_index) == 0)
    here, after = top.slot_atom[first], top.slot_atom[first + 1]
    return np.stack((here[:, 1], here[:, 2], after[:, 0], after[:, 1]), axis=1)


def restrain_shapes(top: AtomTopology) -> list[openmm.CustomTorsionForce]:
    """Make forces that keep hands natural, and peptides trans or cis as they are.

    Both are zero in the range of relaxed structures, and neither a centre of the
    wrong hand nor a peptide that turned over has a minimum.

    Parameters
    ----------
    top : AtomTopology
        Topology of the frames.

    Returns
    -------
    list of openmm.CustomTorsionForce
        Of the hands, then of the peptides, in `RESTRAINT_GROUP`. The parameter
        "side" of a peptide is -1 for trans, which all are at first, 1 for cis.
    """
    hands = f"{_HAND_STRENGTH}*max(0, {_HAND_LIMIT}-theta)^2"
    hand_force = openmm.CustomTorsionForce(hands)
    for row in list_hands(top).tolist():
        hand_force.addTorsion(*row)
    peptides = f"{_PEPTIDE_STRENGTH}*max(0, {_PEPTIDE_LIMIT}-side*cos(theta))^2"
    peptide_force = openmm.CustomTorsionForce(peptides)
    peptide_force.addPerTorsionParameter("side")
    for row in list_peptides(top).tolist():
        peptide_force.addTorsion(*row, [-1.0])
    for force in (hand_force, peptide_force):
        force.setForceGroup(RESTRAINT_GROUP)
    return [hand_force, peptide_force]


def set_peptide_sides(
    force: openmm.CustomTorsionForce, positions: np.ndarray, peptides: np.ndarray
) -> bool:
    """Tell the peptides' force which of them are cis in a frame.

    Parameters
    ----------
    force : openmm.CustomTorsionForce
        The second one of `restrain_shapes`.
    positions : numpy.ndarray, shape (N, 3)
        The frame as it came, in nm.
    peptides : numpy.ndarray, shape (n, 4)
        See `list_peptides`.

    Returns
    -------
    bool
        Whether a parameter changed, so that contexts must be told.
    """
    sides = np.where(_cosine(positions[peptides]) > 0.0, 1.0, -1.0)
    changed = False
    for k, side in enumerate(sides.tolist()):
        *atoms, parameters = force.getTorsionParameters(k)
        if parameters[0] != side:
            force.setTorsionParameters(k, *atoms, [side])
            changed = True
    return changed


def count_turned(
    before: np.ndarray, after: np.ndarray, hands: np.ndarray, peptides: np.ndarray
) -> int:
    """Count the centres and peptides that turned over.

    Parameters
    ----------
    before, after : numpy.ndarray, shape (N, 3)
        Positions in nm.
    hands, peptides : numpy.ndarray, shape (n, 4)
        See `list_hands` and `list_peptides`.

    Returns
    -------
    int
        Centres whose volume, and peptides whose cosine of omega, changed sign;
        centres and peptides that were out of shape before do not count.
    """
    volume = [_volume(x[hands]) for x in (before, after)]
    cosine = [_cosine(x[peptides]) for x in (before, after)]
    n_hands = ((volume[0] > _CLEAR_VOLUME) & (volume[1] <= 0.0)).sum()
    is_clear = np.abs(cosine[0]) > _CLEAR_COSINE
    return int(n_hands + (is_clear & (cosine[0] * cosine[1] <= 0.0)).sum())


def _volume(points: np.ndarray) -> np.ndarray:
    """Signed volume of centres (n, 4, 3), positive for the natural hand."""
    a, b, d = np.moveaxis(points[:, 1:] - points[:, :1], 1, 0)
    return (a * np.cross(b, d)).sum(-1)


def _cosine(points: np.ndarray) -> np.ndarray:
    """Cosine of torsions (n, 4, 3); 0 where atoms are on a line."""
    first, second, third = np.moveaxis(np.diff(points, axis=1), 1, 0)
    one, two = np.cross(first, second), np.cross(second, third)
    size = np.linalg.norm(one, axis=-1) * np.linalg.norm(two, axis=-1)
    return (one * two).sum(-1) / np.maximum(size, 1e-12)

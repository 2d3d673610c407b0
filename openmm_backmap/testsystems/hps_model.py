"""A model of disordered proteins of the HPS kind, with CALVADOS 2 parameters."""

from collections.abc import Sequence

import numpy as np
import openmm
from openmm import unit

from openmm_backmap.errors import InputError
from openmm_backmap.residues.names import CODES
from openmm_backmap.testsystems.cg_system import CGTestSystem, make_ca_topology

__all__ = ["A1_LCD_SEQUENCE", "HPSModel", "compute_debye_hueckel"]

A1_LCD_SEQUENCE = (
    "GSMASASSSQRGRSGSGNFGGGRGGGFGGNDNFGRGGNFSGRGGFGGSRGGGGYGGSGDGYNGFGNDGSNFGGGG"
    "SYNDFGNYNNQSSNFGPMKGGNFGGRSSGGSGGGGQYFAKPRNQGGYGGSSSSSSYGSGRRF"
)
"""Low-complexity domain of hnRNPA1, 137 residues; Martin et al., Science 367, 694
(2020)."""

# mass in dalton, sigma in nm, lambda
_RESIDUES = {
    "A": (71.07, 0.504, 0.2743297969040348), "R": (156.19, 0.656, 0.7307624767517166),
    "N": (114.10, 0.568, 0.4255859009787713), "D": (115.09, 0.558, 0.0416040480605567),
    "C": (103.14, 0.548, 0.5615435099141777), "Q": (128.13, 0.602, 0.3934318551056041),
    "E": (129.11, 0.592, 0.0006935460962935), "G": (57.05, 0.450, 0.7058843733666401),
    "H": (137.14, 0.608, 0.4663667290557992), "I": (113.16, 0.618, 0.5423623610671892),
    "L": (113.16, 0.618, 0.6440005007782226), "K": (128.17, 0.636, 0.1790211738990582),
    "M": (131.20, 0.618, 0.5308481134337497), "F": (147.18, 0.636, 0.8672358982062975),
    "P": (97.12, 0.556, 0.3593126576364644), "S": (87.08, 0.518, 0.4625416811611541),
    "T": (101.11, 0.562, 0.3713162976273964), "W": (186.22, 0.678, 0.9893764740371644),
    "Y": (163.18, 0.646, 0.9774611449343455), "V": (99.13, 0.586, 0.2083769608174481),
}  # fmt: skip
_CHARGE = {"R": 1.0, "K": 1.0, "D": -1.0, "E": -1.0}
_HISTIDINE_PKA = 6.0
_EPSILON = 0.8368  # kJ/mol, 0.2 kcal/mol
_BOND_LENGTH = 0.38  # nm
_BOND_CONSTANT = 8033.0  # kJ/mol/nm^2
_ASHBAUGH_HATCH_CUTOFF = 2.0  # nm
_DEBYE_HUECKEL_CUTOFF = 4.0  # nm
_SPACING = 0.6  # nm, smallest distance of beads at the start


def compute_debye_hueckel(
    temperature: float, ionic_strength: float
) -> tuple[float, float]:
    """Strength and inverse length of screened charges in water.

    Parameters
    ----------
    temperature : float
        In kelvin.
    ionic_strength : float
        In mol/L.

    Returns
    -------
    strength : float
        ``e^2 / (4 pi eps0 eps_r)`` in kJ/mol nm.
    kappa : float
        Inverse Debye length in 1/nm.

    References
    ----------
    eps_r(T): Akerlof and Oshry, J. Am. Chem. Soc. 72, 2844 (1950).
    """
    t = temperature
    eps_r = 5321.0 / t + 233.76 - 0.9297 * t + 1.417e-3 * t**2 - 8.292e-7 * t**3
    rt = 8.3145e-3 * temperature
    strength = 138.935457 / eps_r  # Coulomb's constant in kJ/mol nm / e^2
    bjerrum = strength / rt
    # 8 pi l_B N_A I, with 1 mol/L = 0.602214 / nm^3
    kappa = np.sqrt(8.0 * np.pi * bjerrum * 0.602214 * ionic_strength)
    return strength, float(kappa)


def _grow_chain(n: int, rng: np.random.Generator) -> np.ndarray:
    """Grow a self-avoiding walk with protein-like virtual angles; (n, 3) nm."""
    points = np.zeros((n, 3))
    i, failures = 1, 0
    while i < n:
        for _ in range(40):
            step = rng.normal(size=3)
            step *= _BOND_LENGTH / np.linalg.norm(step)
            if i > 1:
                back = points[i - 2] - points[i - 1]
                cosine = step @ back / _BOND_LENGTH**2
                # virtual CA angle of 85 to 145 degrees
                if not -0.82 < cosine < 0.09:
                    continue
            trial = points[i - 1] + step
            apart = np.linalg.norm(points[: max(i - 2, 0)] - trial, axis=1)
            if (apart > _SPACING).all():
                points[i] = trial
                i += 1
                break
        else:  # a dead end: take back more and more of the walk
            failures += 1
            i = max(1, i - 5 * failures)
    return points - points.mean(axis=0)


class HPSModel(CGTestSystem):
    """Disordered chains: harmonic bonds, Ashbaugh-Hatch and Debye-Hueckel.

    With the parameters of CALVADOS 2 ::

        bonds          k / 2 (r - 0.38 nm)^2, k = 8033 kJ/mol/nm^2
        stickiness     Ashbaugh-Hatch with 0.8368 kJ/mol, shifted at 2 nm
        charges        q q' exp(-kappa r) / (4 pi eps0 eps_r r), shifted at 4 nm

    The first and the last residue of a chain carry the terminal charges, and
    histidine is charged by the pH.

    Parameters
    ----------
    sequences : str or sequence of str
        One-letter codes of a chain, or of several different ones. By default
        the low-complexity domain of hnRNPA1.
    n_copies : int
        Copies of every sequence.
    box : numpy.ndarray or None, shape (3, 3)
        Box vectors in nm; each width at least 8 nm, twice the longest cutoff.
        If None, there is no box.
    temperature : float
        In kelvin, for the dielectric constant of water.
    ionic_strength : float
        In mol/L.
    ph : float
        For the charge of histidine.
    seed : int
        For the conformation at the start.

    Raises
    ------
    InputError
        If a sequence holds an unknown letter or the box is too small.

    References
    ----------
    The kind of model: Dignon et al., PLoS Comput. Biol. 14, e1005941 (2018).
    Parameters: Tesei and Lindorff-Larsen, Open Res. Eur. 2, 94 (2022).
    The functional form: Ashbaugh and Hatch, J. Am. Chem. Soc. 130, 9536 (2008).

    Examples
    --------
    >>> model = HPSModel("GSMASASSSQRGRSGSGNFGG", n_copies=2)
    >>> model.topology.getNumChains(), model.topology.getNumResidues()
    (2, 42)
    """

    def __init__(
        self,
        sequences: str | Sequence[str] = A1_LCD_SEQUENCE,
        *,
        n_copies: int = 1,
        box: np.ndarray | None = None,
        temperature: float = 293.0,
        ionic_strength: float = 0.15,
        ph: float = 7.5,
        seed: int = 0,
    ) -> None:
        sequences = [sequences] if isinstance(sequences, str) else list(sequences)
        sequences = [s.strip().upper() for s in sequences for _ in range(n_copies)]
        _check(sequences, box)
        topology = make_ca_topology(sequences)
        is_periodic = box is not None

        system = openmm.System()
        charges: list[float] = []
        for sequence in sequences:
            masses = [_RESIDUES[code][0] for code in sequence]
            masses[0] += 2.0  # NH3+ and COO- of the whole chain
            masses[-1] += 16.0
            for mass in masses:
                system.addParticle(mass)
            charges += _assign_charges(sequence, ph)
        bonds = openmm.HarmonicBondForce()
        bonds.setUsesPeriodicBoundaryConditions(is_periodic)
        pairs = [(b.atom1.index, b.atom2.index) for b in topology.bonds()]
        for i, j in pairs:
            bonds.addBond(i, j, _BOND_LENGTH, _BOND_CONSTANT)
        system.addForce(bonds)
        for force in (
            _make_ashbaugh_hatch("".join(sequences)),
            _make_debye_hueckel(charges, temperature, ionic_strength),
        ):
            for i, j in pairs:
                force.addExclusion(i, j)
            force.setNonbondedMethod(
                force.CutoffPeriodic if is_periodic else force.CutoffNonPeriodic
            )
            system.addForce(force)
        if is_periodic:
            topology.setPeriodicBoxVectors(np.asarray(box) * unit.nanometer)
            system.setDefaultPeriodicBoxVectors(*np.asarray(box, float))
        super().__init__(system, topology, _place_chains(sequences, box, seed))


def _check(sequences: Sequence[str], box: np.ndarray | None) -> None:
    for sequence in sequences:
        unknown = sorted(set(sequence) - set(CODES))
        if unknown or not sequence:
            raise InputError(
                f"sequence {sequence[:20]!r} has unknown letters {unknown}: "
                f"use the one-letter codes {CODES}"
            )
    if box is not None:
        widths = np.diagonal(np.asarray(box, float))
        if (widths < 2.0 * _DEBYE_HUECKEL_CUTOFF).any():
            raise InputError(
                f"box widths {widths} nm are below {2 * _DEBYE_HUECKEL_CUTOFF} nm, "
                "twice the cutoff of the charges: give a larger box"
            )


def _assign_charges(sequence: str, ph: float) -> list[float]:
    """Charges of a chain in e, terminal charges included."""
    histidine = 1.0 / (1.0 + 10.0 ** (ph - _HISTIDINE_PKA))
    charges = [_CHARGE.get(code, 0.0) for code in sequence]
    charges = [
        histidine if code == "H" else charge
        for code, charge in zip(sequence, charges, strict=True)
    ]
    charges[0] += 1.0
    charges[-1] -= 1.0
    return charges


def _make_ashbaugh_hatch(sequence: str) -> openmm.CustomNonbondedForce:
    force = openmm.CustomNonbondedForce(
        "select(step(r - 2^(1/6) * s), l * (lj - shift), lj - l * shift + e * (1 - l));"
        "lj = 4 * e * ((s / r)^12 - (s / r)^6);"
        "shift = 4 * e * ((s / rc)^12 - (s / rc)^6);"
        "s = 0.5 * (s1 + s2); l = 0.5 * (l1 + l2)"
    )
    force.setName("AshbaughHatch")
    force.addGlobalParameter("e", _EPSILON)
    force.addGlobalParameter("rc", _ASHBAUGH_HATCH_CUTOFF)
    force.addPerParticleParameter("s")
    force.addPerParticleParameter("l")
    for code in sequence:
        force.addParticle(list(_RESIDUES[code][1:]))
    force.setCutoffDistance(_ASHBAUGH_HATCH_CUTOFF)
    return force


def _make_debye_hueckel(
    charges: Sequence[float], temperature: float, ionic_strength: float
) -> openmm.CustomNonbondedForce:
    strength, kappa = compute_debye_hueckel(temperature, ionic_strength)
    force = openmm.CustomNonbondedForce(
        "q1 * q2 * strength * (exp(-kappa * r) / r - exp(-kappa * rq) / rq)"
    )
    force.setName("DebyeHueckel")
    force.addGlobalParameter("strength", strength)
    force.addGlobalParameter("kappa", kappa)
    force.addGlobalParameter("rq", _DEBYE_HUECKEL_CUTOFF)
    force.addPerParticleParameter("q")
    for charge in charges:
        force.addParticle([charge])
    force.setCutoffDistance(_DEBYE_HUECKEL_CUTOFF)
    return force


def _place_chains(
    sequences: Sequence[str], box: np.ndarray | None, seed: int
) -> np.ndarray:
    """Coils on a cubic grid, in the middle of the box if there is one."""
    rng = np.random.default_rng(seed)
    grown: dict[int, np.ndarray] = {}
    for sequence in sequences:
        if len(sequence) not in grown:
            grown[len(sequence)] = _grow_chain(len(sequence), rng)
    coils = [grown[len(sequence)] for sequence in sequences]
    # chains side by side may not touch: a cell holds the widest coil
    cell = max(np.ptp(coil, axis=0).max() for coil in coils) + _SPACING
    n = int(np.ceil(len(coils) ** (1.0 / 3.0)))
    if box is not None and len(coils) > 1:
        n = int(min(np.diagonal(box)) // cell)
        if n**3 < len(coils):
            raise InputError(
                f"box of widths {np.diagonal(box)} nm holds {n**3} of the "
                f"{len(coils)} chains at the start: give a larger box"
            )
    grid = np.array([(k // n**2, k // n % n, k % n) for k in range(len(coils))], float)
    grid -= grid.mean(axis=0)
    middle = 0.0 if box is None else 0.5 * np.asarray(box, float).sum(axis=0)
    return np.concatenate(
        [coil + cell * g + middle for coil, g in zip(coils, grid, strict=True)]
    )

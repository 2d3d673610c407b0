"""HydrogenPlacer: geometry of ff14SB, against Modeller.addHydrogens."""

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import openmm
import pytest
import torch
from openmm import app, unit
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from openmm_backmap import Backmapper
from openmm_backmap.builder.backbone import place_terminal_oxygen
from openmm_backmap.builder.side_chain import build_side_chains
from openmm_backmap.builder.tables import load_builder_tables
from openmm_backmap.errors import InputError
from openmm_backmap.hydrogens import HydrogenPlacer
from openmm_backmap.mapping.atom_topology import AtomTopology
from openmm_backmap.mapping.cg_topology import CGTopology
from openmm_backmap.phosphates import PhosphateTurner
from openmm_backmap.residues.atoms import SLOT_NAMES
from openmm_backmap.residues.hydrogens import VARIANTS
from openmm_backmap.residues.names import CODES, PHOSPHORYLATED
from openmm_backmap.training.shards import read_shard

PARENT = {"SEP": "S", "TPO": "T", "PTR": "Y"}
N_ATOMS = np.array([len(names) for names in SLOT_NAMES])
FORCE_FIELD = app.ForceField("amber14/protein.ff14SB.xml")


def terminal_oxygen(positions: np.ndarray, chain_index: np.ndarray) -> np.ndarray:
    """OXT (F, n_chains, 3) of heavy atoms in slots."""
    return place_terminal_oxygen(
        torch.from_numpy(positions), torch.from_numpy(chain_index)
    ).numpy()


def topology_of(protein: SimpleNamespace, **options: object) -> AtomTopology:
    """AtomTopology of a protein in slots."""
    letters = np.array(list(CODES))[protein.residue_type]
    chains = [
        "".join(letters[protein.chain_index == c])
        for c in np.unique(protein.chain_index)
    ]
    return AtomTopology.from_cg_topology(CGTopology.from_sequence(chains), **options)


@pytest.fixture
def strands(protein: SimpleNamespace) -> SimpleNamespace:
    """Each type first, inside and last between glycines, 3 nm apart."""
    chains = [chain for c in CODES for chain in (f"{c}G{c}", f"G{c}G")]
    states = ["HID", "HID", "HID", "HIP", "HIP", "HIP"]
    start = 3 * len(chains)
    chains += ["HGH", "GHG", "HGH", "GHG", "CGC"]
    histidines = [start + k for k in (0, 2, 4, 6, 8, 10)]
    cg = CGTopology.from_sequence(chains)
    n = len(chains)
    backbone = np.tile(protein.positions[:, 5:8, :5], (1, n, 1, 1))
    backbone += 3.0 * np.repeat(np.arange(n), 3)[None, :, None, None]
    chi = np.tile(np.float32([-1.1, 3.0, 3.0, 3.0]), (1, 3 * n, 1))
    is_planar = np.isin(cg.residue_type, [CODES.index(c) for c in "DFHNWY"])
    chi[:, is_planar, 1] = 1.6
    chi[:, cg.residue_type == CODES.index("P")] = np.float32([0.5, -0.6, 0.5, 0.0])
    positions = build_side_chains(
        torch.from_numpy(backbone.astype(np.float32)),
        torch.from_numpy(cg.residue_type),
        torch.from_numpy(chi),
        load_builder_tables(),
    ).numpy()
    return SimpleNamespace(
        positions=positions,
        oxt=terminal_oxygen(positions, cg.chain_index),
        topology=AtomTopology.from_cg_topology(
            cg,
            histidine=dict(zip(histidines, states, strict=True)),
            disulfides=[(start + 12, start + 14)],
        ),
    )


def add_with_modeller(
    top: AtomTopology, heavy: np.ndarray, oxt: np.ndarray
) -> tuple[app.Topology, np.ndarray]:
    """OpenMM's own hydrogens on the same heavy atoms: topology, (N, 3) nm."""
    bare = AtomTopology.from_cg_topology(
        top.cg, hydrogens=False, disulfides=top.disulfides
    )
    positions = HydrogenPlacer(bare).place(heavy, oxt)[0]
    modeller = app.Modeller(bare.topology, positions.astype(float) * unit.nanometer)
    states = ("HID", "HIE", "HIP", "CYX")
    variants = [name if name in states else None for name in top.variant]
    modeller.addHydrogens(FORCE_FIELD, variants=variants)
    return modeller.topology, np.array(modeller.positions.value_in_unit(unit.nanometer))


def test_all_types_agree_with_modeller(strands: SimpleNamespace) -> None:
    top = strands.topology
    ours = HydrogenPlacer(top).place(strands.positions, strands.oxt)[0]
    topology, theirs = add_with_modeller(top, strands.positions, strands.oxt)
    names = [(a.name, a.residue.index) for a in top.topology.atoms()]
    assert names == [(a.name, a.residue.index) for a in topology.atoms()]
    is_bond = [{a.index, b.index} for a, b in topology.bonds()]
    assert sorted(map(sorted, is_bond)) == sorted(
        sorted((a.index, b.index)) for a, b in top.topology.bonds()
    )
    gaps = []
    for template, first, variant in zip(
        top.templates(), top.first_atom, top.variant, strict=False
    ):
        for site in template.sites:
            if site.is_rotor:
                continue
            index = [first + template.index(name) for name in site.names]
            # Modeller gives HB2 and HB3 at random: compare as sets
            gap = np.linalg.norm(ours[index][:, None] - theirs[index][None], axis=-1)
            gaps.extend(gap.min(axis=1))
    assert len(gaps) > 300
    # ff14SB bends an amide hydrogen towards a carboxylate a little farther
    assert np.quantile(gaps, 0.99) < 0.02 and np.max(gaps) < 0.03
    assert {*VARIANTS} - {*PHOSPHORYLATED} < {*top.variant}


def test_every_hydrogen_is_at_its_bond_length(strands: SimpleNamespace) -> None:
    top = strands.topology
    ours = HydrogenPlacer(top).place(strands.positions, strands.oxt)[0]
    system = FORCE_FIELD.createSystem(top.topology)
    force = next(
        f for f in system.getForces() if isinstance(f, openmm.HarmonicBondForce)
    )
    is_hydrogen = [a.element.symbol == "H" for a in top.topology.atoms()]
    checked = 0
    for k in range(force.getNumBonds()):
        i, j, length, _ = force.getBondParameters(k)
        if is_hydrogen[i] or is_hydrogen[j]:
            gap = float(np.linalg.norm(ours[i] - ours[j]))
            # positions are tens of nm from the origin in float32
            assert gap == pytest.approx(length.value_in_unit(unit.nanometer), abs=1e-4)
            checked += 1
    assert checked == sum(is_hydrogen)


def test_amide_hydrogens_lie_in_the_peptide_plane(protein: SimpleNamespace) -> None:
    top = topology_of(protein)
    oxt = terminal_oxygen(protein.positions, protein.chain_index)
    atoms = HydrogenPlacer(top).place(protein.positions, oxt)[0]
    checked = 0
    for r, template in enumerate(top.templates()):
        h = template.index("H")
        if r == 0 or h < 0:
            continue
        n, ca = atoms[top.slot_atom[r, :2]]
        c = atoms[top.slot_atom[r - 1, 2]]
        normal = np.cross(c - n, ca - n)
        normal /= np.linalg.norm(normal)
        bond = atoms[top.first_atom[r] + h] - n
        assert abs(bond @ normal) < 1e-5
        assert bond @ (c - n) < 0.0 and bond @ (ca - n) < 0.0
        checked += 1
    assert checked > 85


def test_methyls_and_ammonium_are_staggered(strands: SimpleNamespace) -> None:
    import mdtraj

    top = strands.topology
    atoms = HydrogenPlacer(top).place(strands.positions, strands.oxt)
    quartets = []
    for template, first in zip(top.templates(), top.first_atom, strict=False):
        for site in template.sites:
            if len(site.names) == 3:
                b, a = site.neighbors
                for name in site.names:
                    quartets.append(
                        [first + template.index(x) for x in (a, b, site.parent, name)]
                    )
    trajectory = mdtraj.Trajectory(atoms, mdtraj.Topology.from_openmm(top.topology))
    torsion = np.degrees(mdtraj.compute_dihedrals(trajectory, quartets)[0]) % 120.0
    turned = np.abs(torsion - 60.0) > 0.5
    assert len(torsion) > 60
    assert turned.mean() < 0.1  # only where there is no room


def test_a_hydroxyl_turns_to_an_acceptor() -> None:
    """A lone carboxylate oxygen near a serine draws its hydrogen."""
    top = AtomTopology.from_cg_topology(CGTopology.from_sequence(["GSG", "GDG"]))
    heavy = np.full((1, 6, 14, 3), 50.0, np.float32)
    heavy += np.arange(6 * 14, dtype=np.float32).reshape(1, 6, 14, 1)
    serine = {"CA": (0, 0, 0), "CB": (0.153, 0, 0), "OG": (0.2, 0.134, 0)}
    for slot, name in ((1, "CA"), (4, "CB"), (5, "OG")):
        heavy[0, 1, slot] = serine[name]
    placer = HydrogenPlacer(top)
    oxt = np.full((1, 2, 3), -50.0, np.float32)
    oxygen = np.float32(serine["OG"])
    hg = top.first_atom[1] + top.templates()[1].index("HG")
    for side in (1.0, -1.0):
        heavy[0, 4, 6] = oxygen + np.float32([0.09, 0.04, side * 0.25])
        atoms = placer.place(heavy, oxt)[0]
        toward = heavy[0, 4, 6] - oxygen
        cosine = (atoms[hg] - oxygen) @ toward / 0.096 / np.linalg.norm(toward)
        assert cosine > 0.9


def test_methyls_do_not_point_their_hydrogens_at_each_other(
    protein: SimpleNamespace,
) -> None:
    """Two ALA, staggered, with a hydrogen of each 0.11 nm from the other's."""
    one = AtomTopology.from_cg_topology(CGTopology.from_sequence(["GAG"]))
    two = AtomTopology.from_cg_topology(CGTopology.from_sequence(["GAG", "GAG"]))
    names = [f"HB{k}" for k in (1, 2, 3)]
    methyl = [one.first_atom[1] + one.templates()[1].index(name) for name in names]
    beta = one.first_atom[1] + one.templates()[1].index("CB")
    heavy = protein.positions[:, 5:8].copy()
    heavy[:, :, 5:] = 0.0
    oxt = terminal_oxygen(heavy, np.zeros(3, np.int64))
    alone = HydrogenPlacer(one).place(heavy, oxt)[0]
    n_checked = 0
    for k in range(3):
        point = alone[methyl[k]]
        way = (point - alone[beta]) / np.linalg.norm(point - alone[beta])
        for j in range(6):
            across = np.cross(way, np.eye(3)[j % 3] + 0.3 * j)
            turn = Rotation.from_rotvec(np.pi * across / np.linalg.norm(across))

            moved = turn.as_matrix().T.astype(np.float32)
            shift = np.float32(point + 0.11 * way - point @ moved)
            both = np.concatenate((heavy, heavy @ moved + shift), 1)
            gap = cdist(both[0, :3, :5].reshape(-1, 3), both[0, 3:, :5].reshape(-1, 3))
            if gap.min() < 0.3:
                continue
            ends = np.concatenate((oxt, oxt @ moved + shift), 1)
            atoms = HydrogenPlacer(two).place(both, ends)[0]
            other = [two.first_atom[4] + m - one.first_atom[1] for m in methyl]
            assert cdist(atoms[methyl], atoms[other]).min() > 0.175
            n_checked += 1
    assert n_checked > 2


def test_rotated_heavy_atoms_give_rotated_hydrogens(
    protein: SimpleNamespace, rng: np.random.Generator
) -> None:
    top = topology_of(protein)
    placer = HydrogenPlacer(top)
    oxt = terminal_oxygen(protein.positions, protein.chain_index)
    atoms = placer.place(protein.positions, oxt)
    turn = Rotation.random(random_state=3).as_matrix().astype(np.float32)
    shift = rng.normal(size=3).astype(np.float32)
    turned = placer.place(protein.positions @ turn.T + shift, oxt @ turn.T + shift)
    assert np.abs(turned - (atoms @ turn.T + shift)).max() < 2e-5


def test_a_frame_does_not_depend_on_its_batch(
    protein: SimpleNamespace, rng: np.random.Generator
) -> None:
    top = topology_of(protein)
    placer = HydrogenPlacer(top)
    noise = rng.normal(0, 0.01, (3, *protein.positions.shape[1:])).astype(np.float32)
    heavy = protein.positions + noise
    oxt = terminal_oxygen(heavy, protein.chain_index)
    together = placer.place(heavy, oxt)
    for f in range(3):
        alone = placer.place(heavy[f : f + 1], oxt[f : f + 1])
        assert np.array_equal(alone[0], together[f])


def test_a_broken_frame_leaves_the_others_alone(protein: SimpleNamespace) -> None:
    top = topology_of(protein)
    placer = HydrogenPlacer(top)
    heavy = np.repeat(protein.positions, 2, axis=0)
    oxt = terminal_oxygen(heavy, protein.chain_index)
    wanted = placer.place(heavy, oxt)[1]
    heavy[0, 10] = np.nan
    atoms = placer.place(heavy, oxt)
    assert np.isnan(atoms[0]).any()
    assert np.array_equal(atoms[1], wanted)


def test_heavy_atoms_and_oxt_are_passed_on_unchanged(protein: SimpleNamespace) -> None:
    oxt = terminal_oxygen(protein.positions, protein.chain_index)
    for hydrogens in (True, False):
        top = topology_of(protein, hydrogens=hydrogens)
        atoms = HydrogenPlacer(top).place(protein.positions, oxt)
        present = top.slot_atom >= 0
        assert np.array_equal(
            atoms[:, top.slot_atom[present]], protein.positions[:, present]
        )
        assert np.array_equal(atoms[:, top.oxt_atom], oxt)


def test_phosphates_are_tetrahedral_and_clear_of_the_protein(
    protein: SimpleNamespace,
) -> None:
    letters = np.array(list(CODES))[protein.residue_type]
    cg = CGTopology.from_sequence("".join(letters))
    swap = {"SER": "SEP", "THR": "TPO", "TYR": "PTR"}
    cg = replace(cg, residue_name=tuple(swap.get(n, n) for n in cg.residue_name))
    oxt = terminal_oxygen(protein.positions, protein.chain_index)
    for hydrogens in (True, False):
        top = AtomTopology.from_cg_topology(cg, hydrogens=hydrogens)
        atoms = HydrogenPlacer(top).place(protein.positions, oxt)[0]
        phosphorylated = [r for r, v in enumerate(top.variant) if v in swap.values()]
        assert len(phosphorylated) >= 5
        for r in phosphorylated:
            template, first = top.templates()[r], top.first_atom[r]
            p = atoms[first + template.index("P")]
            ends = [first + template.index(f"O{k}P") for k in (1, 2, 3)]
            bonds = atoms[ends] - p
            assert np.linalg.norm(bonds, axis=1) == pytest.approx(0.148, abs=1e-4)
            cosine = (bonds @ bonds.T)[np.triu_indices(3, 1)] / 0.148**2
            assert np.degrees(np.arccos(cosine)) == pytest.approx(110.7, abs=1.0)
            others = atoms[top.slot_atom[top.slot_atom >= 0]]
            near = np.sort(np.linalg.norm(others - p, axis=1))
            assert near[0] == pytest.approx(0.161, abs=1e-4)
            assert near[1] > 0.2


def test_crowded_phosphates_turn_away_and_keep_their_shape(
    protein: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every serine, threonine and tyrosine at once, some beside one another."""
    swap = {"SER": "SEP", "THR": "TPO", "TYR": "PTR"}
    letters = np.array(list(CODES))[protein.residue_type]
    # alternate residues carry a phosphate, whatever they were
    kinds = np.where(np.arange(len(letters)) % 2, "S", letters)
    cg = CGTopology.from_sequence("".join(kinds))
    cg = replace(cg, residue_name=tuple(swap.get(n, n) for n in cg.residue_name))
    top = AtomTopology.from_cg_topology(cg)
    chi = torch.zeros(1, len(kinds), 4) + 1.1
    backbone = torch.from_numpy(protein.positions[:1, :, :5])
    heavy = build_side_chains(
        backbone, torch.from_numpy(cg.residue_type), chi, load_builder_tables()
    ).numpy()
    oxt = terminal_oxygen(heavy, protein.chain_index)
    atoms = list(top.topology.atoms())
    added = [a.index for a in atoms if a.name in ("P", "O1P", "O2P", "O3P")]
    residue = np.array([a.residue.index for a in atoms])
    is_heavy = np.array([a.element.symbol != "H" for a in atoms])

    def count_near(placed: np.ndarray) -> int:
        gap = cdist(placed[added], placed[is_heavy])
        apart = residue[added][:, None] != residue[is_heavy]
        return int((gap[apart] < 0.25).sum())

    turned = HydrogenPlacer(top).place(heavy, oxt)[0]
    monkeypatch.setattr(PhosphateTurner, "turn", lambda self, atoms: None)
    before = HydrogenPlacer(top).place(heavy, oxt)[0]
    assert count_near(before) > 20
    assert count_near(turned) < 0.6 * count_near(before)
    rest = np.setdiff1d(np.arange(len(atoms)), added)
    np.testing.assert_array_equal(turned[rest], before[rest])
    for first, second in top.topology.bonds():
        if {first.index, second.index} & set(added):
            length = np.linalg.norm(turned[first.index] - turned[second.index])
            was = np.linalg.norm(before[first.index] - before[second.index])
            assert length == pytest.approx(was, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "ends"), [("SEP", ["CA"]), ("TPO", ["CA", "CG2"]), ("PTR", ["CE1", "CE2"])]
)
def test_phosphates_keep_off_their_own_side_chain(
    name: str, ends: list[str], rng: np.random.Generator
) -> None:
    x = np.array([[0.33 * i, 0.19 * (i % 2), 0.0] for i in range(5)])
    shaken = x + rng.normal(0.0, 0.03, (30, 5, 3))
    cg = CGTopology.from_sequence("AA" + PARENT[name] + "AA")
    cg = replace(cg, residue_name=("ALA", "ALA", name, "ALA", "ALA"))
    backmapper = Backmapper.from_topology(cg, "table")
    top = backmapper.atom_topology
    template, first = top.templates()[2], top.first_atom[2]
    place = {
        atom: first + template.index(atom) for atom in (*ends, "O1P", "O2P", "O3P")
    }
    oxygens = [place[f"O{k}P"] for k in (1, 2, 3)]
    own = [place[end] for end in ends]
    for atoms in backmapper.backmap_positions(shaken):
        assert cdist(atoms[oxygens], atoms[own]).min() > 0.28


def test_shapes_that_do_not_fit_are_refused(protein: SimpleNamespace) -> None:
    placer = HydrogenPlacer(topology_of(protein))
    oxt = terminal_oxygen(protein.positions, protein.chain_index)
    with pytest.raises(InputError, match="14"):
        placer.place(protein.positions[:, 1:], oxt)
    with pytest.raises(InputError, match="terminal"):
        placer.place(protein.positions, oxt[:, :0])


def test_a_batch_takes_a_fraction_of_a_millisecond_a_frame(
    protein: SimpleNamespace,
) -> None:
    placer = HydrogenPlacer(topology_of(protein))
    heavy = np.repeat(protein.positions, 16, axis=0)
    oxt = terminal_oxygen(heavy, protein.chain_index)
    placer.place(heavy, oxt)
    start = time.process_time()
    for _ in range(3):
        placer.place(heavy, oxt)
    assert (time.process_time() - start) / 48 < 0.003  # 0.0002 s alone


def minimized_energies(
    top: AtomTopology, heavy: np.ndarray, oxt: np.ndarray
) -> tuple[float, float]:
    """Energy after 100 iterations from our hydrogens and from Modeller's."""
    ours = HydrogenPlacer(top).place(heavy, oxt)[0]
    _, theirs = add_with_modeller(top, heavy, oxt)
    system = FORCE_FIELD.createSystem(
        top.topology, nonbondedMethod=app.CutoffNonPeriodic
    )
    context = openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("CPU")
    )
    energy = []
    for positions in (ours, theirs):
        context.setPositions(positions)
        openmm.LocalEnergyMinimizer.minimize(context, 10.0, 100)
        state = context.getState(getEnergy=True)
        energy.append(state.getPotentialEnergy()._value)
    return energy[0], energy[1]


def test_hydrogens_of_a_real_protein_reach_modellers_energy(
    protein: SimpleNamespace,
) -> None:
    """Energy after 100 iterations within 5 % (issue 2)."""
    oxt = terminal_oxygen(protein.positions, protein.chain_index)
    ours, theirs = minimized_energies(topology_of(protein), protein.positions, oxt)
    assert abs(ours - theirs) < 0.05 * abs(theirs), (ours, theirs)


def test_validation_proteins_reach_modellers_energy(shared: Path) -> None:
    """The same on whole chains of the validation set."""
    differences = []
    for entry in read_shard(shared / "data" / "val.npz"):
        is_complete = entry.mask.sum(1) == N_ATOMS[entry.residue_type]
        n_residues = len(entry.residue_type)
        if not (is_complete.all() and 50 <= n_residues <= 90) or entry.chain.any():
            continue
        heavy = entry.positions[:1]
        peptide = np.linalg.norm(heavy[0, 1:, 0] - heavy[0, :-1, 2], axis=-1)
        if peptide.max() > 0.16:
            continue
        chain = np.zeros(n_residues, np.int64)
        top = topology_of(
            SimpleNamespace(residue_type=entry.residue_type, chain_index=chain)
        )
        ours, theirs = minimized_energies(top, heavy, terminal_oxygen(heavy, chain))
        differences.append((ours - theirs) / abs(theirs))
        if len(differences) == 4:
            break
    # one chain is chaotic: Modeller differs from itself by up to 5 %
    assert abs(np.mean(differences)) < 0.05, differences
    assert max(differences) < 0.05, differences

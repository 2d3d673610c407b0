"""CA beads and centres of mass are told apart."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from openmm import app, unit

from openmm_backmap.mapping.bead_kind import find_com_residues, is_com_chain
from openmm_backmap.mapping.cg_topology import CGTopology
from openmm_backmap.mapping.coarsen import coarsen_slots


def test_a_folded_protein_is_told_apart(protein: SimpleNamespace) -> None:
    for mapping, is_com in (("ca", False), ("com", True)):
        beads = coarsen_slots(protein.positions, protein.residue_type, mapping)
        found = find_com_residues(beads[:, :, 0], protein.chain_index)
        assert found.mean() == pytest.approx(float(is_com), abs=0.1)
        step = np.linalg.norm(np.diff(beads[0, :, 0], axis=0), axis=-1)
        assert is_com_chain(step) is is_com


def test_a_disordered_tail_beside_a_domain_stays_ca(
    protein: SimpleNamespace, rng: np.random.Generator
) -> None:
    domain = coarsen_slots(protein.positions, protein.residue_type, "com")[0, :, 0]
    steps = rng.normal(size=(120, 3))
    steps *= rng.normal(0.381, 0.016, (120, 1)) / np.linalg.norm(
        steps, axis=1, keepdims=True
    )
    beads = np.concatenate([domain, domain[-1] + np.cumsum(steps, axis=0)])[None]
    found = find_com_residues(beads, np.zeros(len(domain) + 120, int))
    assert found[: len(domain)].mean() > 0.9
    assert found[len(domain) + 4 :].mean() < 0.05


@pytest.mark.parametrize(
    ("name", "file", "domains"),
    [
        # the restrained residues of the System: 10 to 88 and 104 to 178
        ("calvados3_hnRNPA1S", "top.pdb", [(10, 89), (104, 179)]),
        ("calvados2_A1SLCD", "top.pdb", []),
        ("openabc_moff_hp1a_dimer", "start.pdb", []),
        ("opensmog_CI2_CA", "final_openmm.pdb", []),
    ],
)
def test_domains_of_real_runs_are_found(
    shared: Path, name: str, file: str, domains: list[tuple[int, int]]
) -> None:
    import mdtraj

    folder = shared / "cases" / name
    pdb = app.PDBFile(str(folder / file))
    positions = np.array(pdb.positions.value_in_unit(unit.nanometer))
    topology = CGTopology.from_openmm(pdb.topology, positions=positions)
    trajectory = mdtraj.load(str(next(folder.glob("*.dcd"))), top=str(folder / file))
    beads = topology.bead_positions(trajectory.xyz)[:, :, 0]
    wanted = np.zeros(topology.n_residues, bool)
    for start, stop in domains:
        wanted[start:stop] = True
    for frames in (beads, beads[:1], beads[-1:]):
        found = find_com_residues(frames, topology.chain_index)
        # a residue at each end of a domain may go either way
        assert np.sum(found != wanted) <= 3 * len(domains)

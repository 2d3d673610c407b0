"""Side-chain torsions chi1 to chi4: their atoms, and which are pi-periodic."""

from openmm_backmap.residues.names import RESIDUE_NAMES

__all__ = ["CHI_ATOMS", "CHI_IS_PI_PERIODIC", "N_CHI", "N_CHI_OF_TYPE"]

N_CHI = 4

_CHAIN = {
    "ARG": "N CA CB CG CD NE CZ", "ASN": "N CA CB CG OD1", "ASP": "N CA CB CG OD1",
    "CYS": "N CA CB SG", "GLN": "N CA CB CG CD OE1", "GLU": "N CA CB CG CD OE1",
    "HIS": "N CA CB CG ND1", "ILE": "N CA CB CG1 CD1", "LEU": "N CA CB CG CD1",
    "LYS": "N CA CB CG CD CE NZ", "MET": "N CA CB CG SD CE", "PHE": "N CA CB CG CD1",
    "PRO": "N CA CB CG CD", "SER": "N CA CB OG", "THR": "N CA CB OG1",
    "TRP": "N CA CB CG CD1", "TYR": "N CA CB CG CD1", "VAL": "N CA CB CG1",
}  # fmt: skip


def _chis(name: str) -> tuple[tuple[str, str, str, str], ...]:
    chain = _CHAIN.get(name, "").split()
    return tuple(
        (chain[k], chain[k + 1], chain[k + 2], chain[k + 3])
        for k in range(len(chain) - 3)
    )


CHI_ATOMS = tuple(_chis(name) for name in RESIDUE_NAMES)
"""For each residue type the atom names of chi1, chi2, ... (IUPAC-IUB 1970)."""

N_CHI_OF_TYPE = tuple(len(chis) for chis in CHI_ATOMS)

_PI_PERIODIC = {"ASP": 1, "GLU": 2, "PHE": 1, "TYR": 1}
CHI_IS_PI_PERIODIC = tuple(
    tuple(_PI_PERIODIC.get(name, -1) == k for k in range(N_CHI))
    for name in RESIDUE_NAMES
)
"""For each residue type which of its chi have period pi (ASP2 GLU3 PHE2 TYR2)."""

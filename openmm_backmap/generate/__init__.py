"""All-atom frames of disordered peptides, made with OpenMM for training."""

from openmm_backmap.generate.run import GenerationSettings, generate
from openmm_backmap.generate.sequences import design_sequences, measure_coverage
from openmm_backmap.generate.simulate import SimulationSettings
from openmm_backmap.generate.store import pack

__all__ = [
    "GenerationSettings",
    "SimulationSettings",
    "design_sequences",
    "generate",
    "measure_coverage",
    "pack",
]

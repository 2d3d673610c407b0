"""Package metadata of openmm-backmap; tool settings are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_namespace_packages, setup

HERE = Path(__file__).resolve().parent
VERSION = re.search(
    r'^__version__ = "(.+)"$',
    (HERE / "openmm_backmap" / "_version.py").read_text(encoding="utf-8"),
    re.MULTILINE,
).group(1)

# Lower bounds only: an upper bound here would forbid what a user's own
# simulation engine may need. environment.yml says the same for conda-forge
# and tests/test_environment.py compares the two.
INSTALL_REQUIRES = [
    "e3nn>=0.5.7",  # the first with its setting jit_mode
    "mdtraj>=1.10",
    "numpy>=1.26",
    "openmm>=8.2",
    "pdbfixer>=1.12",
    "rich>=13.0",
    "scipy>=1.11",
    "torch>=2.5",
]

EXTRAS_REQUIRE = {
    "plots": ["matplotlib>=3.8"],
    "benchmark": ["cgback>=1.1", "matplotlib>=3.8", "pulchra>=1.0"],
    "train": ["gemmi>=0.6.5", "h5py>=3.10", "tensorboard>=2.15"],
    "cluster": ["dask-jobqueue>=0.8.5", "dask[distributed]>=2024.5"],
    # the engines of the examples; the upper bounds are theirs: OpenABC needs
    # pandas 2, OpenAWSEM a biopython that has no wheels for newer Pythons
    "examples": [
        'biopython>=1.80,<1.82; python_version < "3.12"',
        "matplotlib>=3.8",
        "openabc>=1.0.9",
        'openawsem>=1.1.1; python_version < "3.12"',
        "opensmog>=1.3",
        "pandas>=2.0,<3",
    ],
    "test": [
        "numpydoc>=1.11",  # lets a summary stand on the opening line
        "pytest>=8.2",  # importorskip(exc_type=)
        "pytest-timeout>=2.2",
        "pytest-xdist>=3.5",
        "pyyaml>=6.0",
        "ruff>=0.12",
    ],
}

setup(
    name="openmm-backmap",
    version=VERSION,
    description=(
        "Turn coarse-grained protein simulations into all-atom structures, "
        "inside a running OpenMM simulation or from a trajectory"
    ),
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The openmm-backmap developers",
    license="MIT",
    license_files=["LICENSE"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Bio-Informatics",
        "Topic :: Scientific/Engineering :: Chemistry",
    ],
    keywords="openmm backmapping coarse-grained all-atom protein",
    # TorchScript, which the model files are, is not supported on 3.14.
    python_requires=">=3.11,<3.14",
    packages=find_namespace_packages(include=["openmm_backmap", "openmm_backmap.*"]),
    package_data={
        "": ["py.typed"],
        "openmm_backmap.weights": ["*.pt", "*.json", "*.npz", "*.md"],
        "openmm_backmap.data": ["*.pdb", "*.xml", "*.json", "*.npz", "*.md", "*.gz"],
        "openmm_backmap.residues": ["*.json", "*.npz"],
        "openmm_backmap.packing": ["*.json", "*.npz"],
        "openmm_backmap.builder": ["*.json", "*.npz"],
    },
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS_REQUIRE,
    entry_points={"console_scripts": ["openmm-backmap = openmm_backmap.cli.main:main"]},
    zip_safe=False,
)

"""Trajectories: coarse-grained frames in, all-atom frames out."""

from openmm_backmap.trajectory.base import FrameSource, FrameWriter
from openmm_backmap.trajectory.reader import (
    CGFrameChunks,
    count_cg_frames,
    read_cg_frames,
)
from openmm_backmap.trajectory.sources import open_source
from openmm_backmap.trajectory.structure import read_topology
from openmm_backmap.trajectory.text import (
    FILE_MARKS,
    FRAME_ENDS,
    check_holds,
    choose_topology_suffix,
    explain_no_pdb,
)
from openmm_backmap.trajectory.writer import open_writer

__all__ = [
    "FILE_MARKS",
    "FRAME_ENDS",
    "CGFrameChunks",
    "FrameSource",
    "FrameWriter",
    "check_holds",
    "choose_topology_suffix",
    "count_cg_frames",
    "explain_no_pdb",
    "open_source",
    "open_writer",
    "read_cg_frames",
    "read_topology",
]

"""The fingerprint of the residue and slot tables a model depends on."""

import hashlib
import json

from openmm_backmap.residues.atoms import SLOT_NAMES
from openmm_backmap.residues.names import RESIDUE_NAMES

__all__ = ["compute_layout_hash"]


def compute_layout_hash() -> str:
    """Hash residue order and atom slots.

    Returns
    -------
    str
        16 hexadecimal digits of SHA-256; models of another layout are refused.
    """
    text = json.dumps([RESIDUE_NAMES, SLOT_NAMES])
    return hashlib.sha256(text.encode()).hexdigest()[:16]

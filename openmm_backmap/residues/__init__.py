"""Facts about the twenty residues."""

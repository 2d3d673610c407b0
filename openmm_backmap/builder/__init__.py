"""All heavy atoms from CA positions, two azimuths a peptide unit and chi."""

"""Who is who: mappings, topologies, and how atoms become beads."""

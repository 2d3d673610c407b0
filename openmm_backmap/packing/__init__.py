"""Side-chain packing: rotamer candidates in, one consistent choice out."""

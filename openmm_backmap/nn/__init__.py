"""Networks in eager torch: the flagship `ca` and the paper's `vae`."""

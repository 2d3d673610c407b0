"""`vae`'s loss: torsion likelihood, KL, local, global and physical terms."""

import math

import torch
from torch import Tensor, nn

from openmm_backmap.builder.tables import BuilderTables, load_builder_tables
from openmm_backmap.nn.ca_loss import CALoss
from openmm_backmap.nn.torsion_bins import decode_peak
from openmm_backmap.nn.torsion_heads import TWIST_RANGE
from openmm_backmap.nn.vae_atoms import build_atoms, find_known_atoms
from openmm_backmap.nn.vae_network import VAENetwork
from openmm_backmap.nn.vae_terms import (
    compute_kl,
    compute_local_term,
    compute_pair_terms,
    compute_xyz_term,
    count_free_bits,
    ramp,
)
from openmm_backmap.packing.tables import PackingTables, make_packing_tables

__all__ = ["TERM_NAMES", "VAELoss"]

TERM_NAMES = ("kl", "posterior_nll", "local", "xyz", "distance", "hinge")
"""What `VAELoss` measures beside the torsion heads."""

KL_RAMP = (0.02, 0.25)
PHYSICAL_RAMP = (0.3, 0.5)


class VAELoss(nn.Module):
    """Loss of a batch, as the weighted sum of its terms.

    ==================  =====================================================
    torsion             negative log likelihood of the torsion bins given z ~ q
                        (soft labels, multi-modal), and given the prior's mean
    KL                  of q and p, free bits, annealed in
    local, xyz          on atoms built from the likeliest torsions, in a part
                        `geometry_share` of the steps
    distance, hinge     the physical terms, annealed in after a third of the run
    ==================  =====================================================

    The likelihood given the prior's mean trains what backmapping uses, in the
    hybrid objective of Sohn, Lee and Yan (NeurIPS 2015, eq. 7); atoms are built
    from it for the same reason. Heads are told true earlier torsions.

    Parameters
    ----------
    jitter, withheld : float
        See `CALoss`.
    free_bits : float
        Nats of each latent that cost nothing.
    kl_weight, prior_weight, local_weight, xyz_weight, physical_weight : float
        Of the terms.
    physical : bool
        False = the physical terms are left out.
    geometry_share : float
        Share of the steps in which atoms are built.
    n_rows, n_near : int
        Residues, and neighbours of each, that the physical terms look at.
    """

    def __init__(
        self,
        jitter: float = 12.0,
        withheld: float = 0.2,
        free_bits: float = 0.02,
        kl_weight: float = 1.0,
        prior_weight: float = 1.0,
        local_weight: float = 5.0,
        xyz_weight: float = 0.3,
        physical_weight: float = 0.5,
        physical: bool = True,
        geometry_share: float = 0.25,
        n_rows: int = 256,
        n_near: int = 6,
    ) -> None:
        super().__init__()
        self.torsion = CALoss(jitter=jitter, withheld=withheld)
        self.free_bits = free_bits
        self.kl_weight = kl_weight
        self.prior_weight = prior_weight
        self.local_weight = local_weight
        self.xyz_weight = xyz_weight
        self.physical_weight = physical_weight if physical else 0.0
        self.geometry_share = geometry_share
        self.n_rows = n_rows
        self.n_near = n_near
        self._builder = load_builder_tables()
        self._packing = make_packing_tables()

    def _tables(self, device: torch.device) -> tuple[BuilderTables, PackingTables]:
        if self._builder.cb.device != device:
            self._builder = load_builder_tables(device)
            packing = [x.to(device) for x in make_packing_tables()]
            self._packing = PackingTables(*packing)
        return self._builder, self._packing

    def forward(
        self,
        network: VAENetwork,
        ca: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        neighbor_index: Tensor,
        sigma: Tensor,
        target: Tensor,
        known: Tensor,
        is_cis: Tensor,
        progress: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Loss of a batch of one frame; arguments as in `training.batch.Batch`.

        Parameters
        ----------
        network : VAENetwork
            With its encoder, unless it has no latents.
        ca, residue_type, chain_index, neighbor_index, sigma, target, known, is_cis
            The batch.
        progress : torch.Tensor, shape ()
            Part of the run that is done, for the schedule of the weights.

        Returns
        -------
        loss : torch.Tensor, shape ()
            The weighted sum; in evaluation mode the torsion term from the prior's
            mean alone.
        total, count, hit : torch.Tensor, shape (10 + 6,)
            As `CALoss.forward`, from the prior's mean, then `TERM_NAMES`.
        """
        builder, packing = self._tables(ca.device)
        h, graph = network.trunk(
            ca, residue_type, chain_index, neighbor_index, None, sigma
        )
        counts = known.any(-1)[0].to(ca.dtype)
        heads = (network, chain_index, target, known, is_cis)
        zero = ca.new_zeros(())
        extra = {name: zero for name in TERM_NAMES}
        seen = {name: zero for name in TERM_NAMES}
        loss = zero
        truth = has_atom = None
        builds = not self.training or bool(
            torch.rand((), dtype=torch.float32, device="cpu") < self.geometry_share
        )
        if builds or network.n_latent > 0:
            with torch.no_grad():
                truth = build_atoms(
                    ca, target, is_cis, residue_type, chain_index, builder
                )
                has_atom = find_known_atoms(known, residue_type, chain_index, packing)
        if network.n_latent > 0:
            mean, log_variance = network.compute_prior(h)
            posterior, posterior_log_variance = network.encoder(
                h,
                graph,
                mean,
                log_variance,
                residue_type,
                truth[0] - ca[0].unsqueeze(1),
                has_atom[0],
                target[0],
                known[0],
            )
            kl = compute_kl(posterior, posterior_log_variance, mean, log_variance)
            z = self._draw(posterior, posterior_log_variance)
            told = network.fusion(h, z, graph).unsqueeze(0)
            posterior_nll, *_ = self._score(told, *heads, residue_type)
            loss = posterior_nll + self._weigh_kl(kl, counts, progress)
            total = (kl * counts.unsqueeze(-1)).sum() / counts.sum().clamp(min=1.0)
            extra["kl"], extra["posterior_nll"] = total, posterior_nll
            seen["kl"] = seen["posterior_nll"] = zero + 1.0
            h = network.fusion(h, mean, graph)
        nll, total, count, hit, logits = self._score(
            h.unsqueeze(0), *heads, residue_type
        )
        loss = nll if not self.training else loss + self.prior_weight * nll
        if builds:
            terms = self._compare(
                logits, ca, residue_type, chain_index, neighbor_index,
                target, is_cis, truth, has_atom,
            )  # fmt: skip
            if self.training:
                loss = loss + self._weigh_atoms(terms, progress)
            extra |= terms
            seen |= {name: zero + 1.0 for name in terms}
        more = torch.stack([extra[name].detach() for name in TERM_NAMES])
        times = torch.stack([seen[name] for name in TERM_NAMES])
        return (
            loss,
            torch.cat((total, more)),
            torch.cat((count, times)),
            torch.cat((hit, torch.zeros_like(times))),
        )

    def _draw(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """Latents drawn about their mean in training, else the mean."""
        if not self.training:
            return mean
        spread = torch.exp(0.5 * log_variance)
        return mean + spread * torch.randn_like(spread)

    def _weigh_kl(self, kl: Tensor, counts: Tensor, progress: Tensor) -> Tensor:
        """KL (R, Z) as it counts at this point of the schedule."""
        free = count_free_bits(kl, counts, self.free_bits)
        return self.kl_weight * ramp(progress, *KL_RAMP) * free

    def _weigh_atoms(self, terms: dict[str, Tensor], progress: Tensor) -> Tensor:
        """Terms of the atoms as they count at this point of the schedule."""
        physical = self.physical_weight * ramp(progress, *PHYSICAL_RAMP)
        loss = self.local_weight * terms["local"] + self.xyz_weight * terms["xyz"]
        return loss + physical * (terms["distance"] + terms["hinge"])

    def _score(
        self,
        h: Tensor,
        network: VAENetwork,
        chain_index: Tensor,
        target: Tensor,
        known: Tensor,
        is_cis: Tensor,
        residue_type: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor]]:
        """Torsion term given features, its sums, and the logits."""
        loss = self.torsion
        logits = loss.compute_logits(network, h, chain_index, target, known, is_cis)
        return *loss.reduce(logits, residue_type, target, known, is_cis), logits

    def _compare(
        self,
        logits: list[Tensor],
        ca: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        neighbor_index: Tensor,
        target: Tensor,
        is_cis: Tensor,
        truth: Tensor,
        has_atom: Tensor,
    ) -> dict[str, Tensor]:
        """Terms of the atoms built from the likeliest torsions."""
        builder, packing = self._tables(ca.device)
        torsion = self._decode(logits, target, residue_type)
        built = build_atoms(ca, torsion, is_cis, residue_type, chain_index, builder)
        local = compute_local_term(built, truth, has_atom, chain_index)
        xyz = compute_xyz_term(built, truth, has_atom)
        n = ca.shape[1]
        rows = torch.randperm(n, device=ca.device)[: self.n_rows]
        if not self.training:
            rows = torch.arange(n, device=ca.device)
        distance, hinge = compute_pair_terms(
            built,
            truth,
            has_atom,
            residue_type,
            chain_index,
            neighbor_index[..., : self.n_near],
            rows,
            packing,
        )
        return {"local": local, "xyz": xyz, "distance": distance, "hinge": hinge}

    def _decode(
        self, logits: list[Tensor], target: Tensor, residue_type: Tensor
    ) -> Tensor:
        """Likeliest torsions (1, R, 9), on the true side of pi-periodic ones.

        The mean of the window about the likeliest bin: it has a gradient, and
        is never between two rotamers.
        """
        angles: list[Tensor] = []
        for head in range(9):
            wide = TWIST_RANGE if head == 1 else math.pi
            angle = decode_peak(logits[head].float(), wide, head != 1)
            if head >= 5:
                flips = self.torsion.pi_periodic[residue_type, head - 5].unsqueeze(0)
                turns = torch.round((target[..., head] - angle) / math.pi)
                angle = torch.where(flips, angle + math.pi * turns, angle)
            angles.append(angle)
        return torch.stack(angles, -1)

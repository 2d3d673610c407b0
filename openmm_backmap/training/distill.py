"""A network learns from others: the mean of several, in the time of one.

Networks trained from different random weights err differently where data are few,
and the mean of their logarithmic probabilities is better than each. A student learns
that mean (Hinton, Vinyals and Dean, 2015, "Distilling the Knowledge in a Neural
Network"). What teachers say of structures they were trained on is partly learned by
heart, so half of the batches have the types of some residues exchanged with those of
residues about as buried: nobody has seen those.
"""

import torch
from torch import Tensor
from torch.nn import functional

from openmm_backmap.builder.tables import load_builder_tables
from openmm_backmap.errors import DataError
from openmm_backmap.nn.ca_loss import HEAD_WEIGHT
from openmm_backmap.nn.ca_network import CANetwork
from openmm_backmap.nn.torsion_heads import TorsionHeads
from openmm_backmap.training.config import ModelConfig
from openmm_backmap.training.export import load_network
from openmm_backmap.training.step import LossStep

__all__ = ["DistillStep", "exchange_types", "measure_spread"]

GLYCINE, PROLINE = 7, 14
BLUR = 0.05
"""Spreads that differ by about this share are alike."""


def measure_spread(ca: Tensor, neighbor_index: Tensor) -> Tensor:
    """Mean distance of each residue from its nearest ones: small where it is buried.

    Parameters
    ----------
    ca : torch.Tensor, shape (1, R, 3)
        CA positions in nm.
    neighbor_index : torch.Tensor, shape (1, R, K), int64
        Nearest CAs, -1 = none.

    Returns
    -------
    torch.Tensor, shape (R,)
        nm; 0 without neighbours.
    """
    near = ca[0][neighbor_index[0].clamp(min=0)]
    distance = torch.linalg.vector_norm(near - ca[0].unsqueeze(1), dim=-1)
    there = neighbor_index[0] >= 0
    return (distance * there).sum(-1) / there.sum(-1).clamp(min=1)


def exchange_types(residue_type: Tensor, share: float, spread: Tensor) -> Tensor:
    """Give some residues the type of another one of the batch, about as buried.

    Glycines and prolines stay: their backbones are of their own.

    Parameters
    ----------
    residue_type : torch.Tensor, shape (R,), int64
        0 to 19.
    share : float
        Probability that a residue is asked to exchange.
    spread : torch.Tensor, shape (R,)
        How far the neighbours of each residue are, in nm (see `measure_spread`).

    Returns
    -------
    torch.Tensor, shape (R,), int64
        New types; some of the exchanged ones are the same by chance.
    """
    blurred = spread * (1.0 + BLUR * torch.randn_like(spread))
    order = torch.argsort(blurred)
    donor = torch.empty_like(residue_type)
    donor[order] = residue_type[torch.roll(order, int(torch.randint(1, 9, ())))]
    own = (residue_type == GLYCINE) | (residue_type == PROLINE)
    taken = (donor == GLYCINE) | (donor == PROLINE)
    drawn = torch.rand_like(spread) < share
    return torch.where(drawn & ~own & ~taken, donor, residue_type)


class Lesson:
    """A student's heads, which ask the teachers the same questions.

    Parameters
    ----------
    student : TorsionHeads
        Whose logits are returned.
    teachers : list of TorsionHeads
        Asked the same, without gradient.
    features : list of torch.Tensor, shape (1, R, H)
        What the heads of each teacher read.
    shares : list of float
        Weight of each teacher; together 1.

    Attributes
    ----------
    answers : list of torch.Tensor
        Teachers' mean logarithmic probabilities (of the cis state: log odds), in the
        order of the questions.
    """

    def __init__(
        self,
        student: TorsionHeads,
        teachers: list[CANetwork],
        features: list[Tensor],
        shares: list[float],
    ) -> None:
        self.student = student
        self.teachers = teachers
        self.features = features
        self.shares = shares
        self.answers: list[Tensor] = []

    def _ask(self, question: str, h: Tensor, *condition: Tensor | int) -> Tensor:
        with torch.no_grad():
            said = [
                getattr(teacher, question)(feature, *condition).float()
                for teacher, feature in zip(self.teachers, self.features, strict=True)
            ]
            if question != "cis_logit":
                said = [torch.log_softmax(logits, -1) for logits in said]
            weighed = [w * answer for w, answer in zip(self.shares, said, strict=True)]
            mean = torch.stack(weighed).sum(0)
        self.answers.extend(mean.unbind(2) if question == "end_logits" else [mean])
        return getattr(self.student, question)(h, *condition)

    def alpha_logits(self, h: Tensor, *condition: Tensor) -> Tensor:
        """See `TorsionHeads.alpha_logits`."""
        return self._ask("alpha_logits", h, *condition)

    def twist_logits(self, h: Tensor, *condition: Tensor) -> Tensor:
        """See `TorsionHeads.twist_logits`."""
        return self._ask("twist_logits", h, *condition)

    def end_logits(self, h: Tensor, azimuth: Tensor) -> Tensor:
        """See `TorsionHeads.end_logits`."""
        return self._ask("end_logits", h, azimuth)

    def chi_logits(self, h: Tensor, backbone: Tensor, chi: Tensor, k: int) -> Tensor:
        """See `TorsionHeads.chi_logits`."""
        return self._ask("chi_logits", h, backbone, chi, k)

    def cis_logit(self, h: Tensor) -> Tensor:
        """See `TorsionHeads.cis_logit`."""
        return self._ask("cis_logit", h)

    def backbone_condition(self, *azimuths: Tensor) -> Tensor:
        """See `TorsionHeads.backbone_condition`."""
        return self.student.backbone_condition(*azimuths)


class DistillStep(LossStep):
    """Loss of a batch: cross entropy with the teachers and with the structures.

    Parameters
    ----------
    config : ModelConfig
        Section ``[model]`` with ``[model.distill]``.
    precision : str
        See `LossStep`.

    Raises
    ------
    DataError
        If a teacher cannot be read, or is another kind of network.
    """

    def __init__(self, config: ModelConfig, precision: str = "float32") -> None:
        super().__init__(config, precision)
        own = config.distill
        self.label_share = own.label_share
        self.mutated = own.mutated
        # in a list: neither trained nor part of the checkpoint
        self.teachers: list[CANetwork] = []
        for source in own.teachers:
            teacher = load_network(source)
            if not isinstance(teacher, CANetwork):
                raise DataError(
                    f"[model.distill] teachers: {source} is no network of 'ca', which "
                    "alone can be a teacher; name a run or model file of 'ca'"
                )
            self.teachers.append(teacher)
        shares = own.shares or (1.0,) * len(self.teachers)
        self.shares = [share / sum(shares) for share in shares]
        n_chi = load_builder_tables().n_chi
        self.register_buffer("n_chi", n_chi, persistent=False)

    def compile_step(self, wrapped: torch.nn.Module) -> torch.nn.Module:
        """Compile student and teachers together, in place."""
        self._learn = torch.compile(self._learn, dynamic=False)
        return wrapped

    def forward(self, *batch: Tensor) -> tuple[Tensor, Tensor]:
        """Loss, and (3, 10) sums, counts and hits of the heads on the structures."""
        if not self.training:
            return super().forward(*batch)
        ca, types, _, neighbor_index = batch[:4]
        label_share = self.label_share
        if (
            bool(torch.rand((), dtype=torch.float32, device="cpu") < 0.5)
            and self.mutated > 0.0
        ):
            spread = measure_spread(ca, neighbor_index)
            types = exchange_types(types, self.mutated, spread)
            label_share = 0.0
        for k, teacher in enumerate(self.teachers):
            self.teachers[k] = teacher.to(ca.device)
        with torch.autocast(
            ca.device.type,
            dtype=torch.bfloat16,
            enabled=self.precision == "bfloat16",
        ):
            return self._learn(
                torch.tensor(label_share, dtype=torch.float32, device=ca.device),
                types,
                *batch,
            )

    def _learn(
        self,
        label_share: Tensor,
        types: Tensor,
        ca: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        neighbor_index: Tensor,
        sigma: Tensor,
        target: Tensor,
        known: Tensor,
        is_cis: Tensor,
    ) -> tuple[Tensor, Tensor]:
        arguments = (ca, types, chain_index, neighbor_index, None, sigma)
        # teachers have no gradient of their own; in no_grad they would take the way
        # of inference, row by row
        features = [teacher(*arguments) for teacher in self.teachers]
        h = self.network(*arguments)
        lesson = Lesson(self.network, self.teachers, features, self.shares)
        logits = self.loss.compute_logits(lesson, h, chain_index, target, known, is_cis)
        changed = types != residue_type
        own = known.clone()
        own[..., 5:] &= ~changed[None, :, None]
        hard, *sums = self.loss.reduce(logits, types, target, own, is_cis)
        # a chi of an exchanged residue can be asked for where there is a residue, not
        # padding or a gap, and the chi before it, which the heads are told, are those
        # of the structure
        order = torch.arange(4, device=ca.device)
        told = torch.cat((known.any(-1, keepdim=True), known[..., 5:8]), -1)
        exists = order < self.n_chi[types][:, None]
        asked = known.clone()
        asked[..., 5:] |= changed[None, :, None] & told
        asked[..., 5:] &= exists
        soft = compare(logits, lesson.answers, asked)
        before_proline = torch.roll(types, -1, 0) == PROLINE
        cis = functional.binary_cross_entropy_with_logits(
            logits[9].float(), torch.sigmoid(lesson.answers[9]), reduction="none"
        )
        soft = soft + (cis * (asked[..., 0] & before_proline)).sum()
        soft = soft / asked.any(-1).sum().clamp(min=1)
        loss = label_share * hard + (1.0 - label_share) * soft
        return loss, torch.stack(sums)


def compare(logits: list[Tensor], answers: list[Tensor], asked: Tensor) -> Tensor:
    """Cross entropy of a student's torsions with the teachers', weighed and summed.

    Parameters
    ----------
    logits, answers : list of torch.Tensor, shape (1, R, 72)
        Student's logits and teachers' logarithmic probabilities of nine torsions.
    asked : torch.Tensor, shape (1, R, 9), bool
        Where to compare.

    Returns
    -------
    torch.Tensor, shape ()
    """
    total = torch.zeros((), dtype=torch.float32, device=asked.device)
    for head in range(9):
        said = torch.softmax(answers[head], -1)
        nats = -(said * torch.log_softmax(logits[head].float(), -1)).sum(-1)
        total = total + HEAD_WEIGHT[head] * (nats * asked[..., head]).sum()
    return total

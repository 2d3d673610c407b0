"""Forces on moving atoms against the gradient of what they minimise."""

import torch
from torch import Tensor

from openmm_backmap.packing.motion import (
    Planes,
    add_plane_forces,
    add_spring_forces,
    join_springs,
    order_atoms,
)
from openmm_backmap.packing.springs import compute_heights

N_RESIDUES = 5


def place_atoms() -> tuple[Tensor, Tensor]:
    """Atoms (14 N, 3) in nm, and which residues move."""
    generator = torch.Generator().manual_seed(11)
    atoms = torch.rand(14 * N_RESIDUES, 3, generator=generator, dtype=torch.float64)
    return atoms, torch.tensor([False, True, True, False, True])


def test_atoms_that_move_come_first_and_all_come_back() -> None:
    atoms, mobile = place_atoms()
    moving = order_atoms(mobile, mobile)
    assert moving.n_moving == 14 * 3
    assert moving.residue.tolist() == [1, 2, 4]
    x = atoms.t().index_select(1, moving.order)
    assert torch.equal(x[:, :14].t(), atoms[14:28])
    assert torch.equal(x.index_select(1, moving.column).t(), atoms)
    assert order_atoms(None, mobile).n_moving == len(atoms)


def test_springs_and_pushes_are_gradients_of_their_energy() -> None:
    atoms, mobile = place_atoms()
    moving = order_atoms(mobile, mobile)
    generator = torch.Generator().manual_seed(12)
    a, b = torch.randint(0, len(atoms), (2, 60), generator=generator)
    b = torch.where(a == b, (b + 1) % len(atoms), b)
    weight = torch.rand(30, generator=generator, dtype=torch.float64)
    rest = torch.rand(60, generator=generator, dtype=torch.float64)
    shift = torch.zeros(30, 3, dtype=torch.float64)
    shift[::3, 0] = 0.4
    springs = join_springs(
        moving, (a[:30], b[:30], weight, rest[:30]), (a[30:], b[30:], rest[30:], shift),
        0.27,
    )  # fmt: skip
    x = atoms.t().index_select(1, moving.order)
    total = torch.zeros(3, moving.n_moving + 1, dtype=torch.float64)
    add_spring_forces(total, x, springs)
    free = atoms.clone().requires_grad_()
    held = (free[b[:30]] - free[a[:30]]).norm(dim=1) - rest[:30]
    pushed = rest[30:] - (free[b[30:]] + shift - free[a[30:]]).norm(dim=1)
    assert 3 < int((pushed > 0).sum()) < 27
    energy = 0.5 * (weight * held.square()).sum()
    energy = energy + 0.5 * 0.27 * pushed.clamp(min=0.0).square().sum()
    (gradient,) = torch.autograd.grad(energy, free)
    expected = -gradient.t().index_select(1, moving.order)[:, : moving.n_moving]
    torch.testing.assert_close(total[:, :-1], expected)


def test_plane_forces_are_gradients_and_exert_neither_force_nor_torque() -> None:
    atoms, mobile = place_atoms()
    moving = order_atoms(None, mobile)
    four = torch.tensor([[0, 1, 2, 3], [20, 5, 40, 9], [66, 30, 12, 51]])
    corner = four.t().reshape(-1)
    wanted = torch.tensor([0.05, -0.3, 0.2], dtype=torch.float64)
    slack = torch.tensor([0.0, 0.01, 0.0], dtype=torch.float64)
    planes = Planes(corner, corner, wanted, slack, torch.ones_like(wanted).repeat(4))
    x = atoms.t().contiguous()
    total = torch.zeros(3, moving.n_moving + 1, dtype=torch.float64)
    add_plane_forces(total, x, planes, 0.8)
    free = x.clone().requires_grad_()
    height, _normal, _lever = compute_heights(free[:, corner].view(3, 4, 3))
    off = ((height - wanted).abs() - slack).clamp(min=0.0)
    (gradient,) = torch.autograd.grad(0.4 * off.square().sum(), free)
    torch.testing.assert_close(total[:, :-1], -gradient, atol=1e-9, rtol=1e-7)
    assert float(total.abs().max()) > 0.01
    assert float(total.sum(1).abs().max()) < 1e-12
    torque = torch.linalg.cross(x, total[:, :-1], dim=0).sum(1)
    assert float(torque.abs().max()) < 1e-12

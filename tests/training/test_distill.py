"""A student learns the mean of its teachers, also where no structure tells it."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from openmm_backmap.errors import DataError
from openmm_backmap.nn.ca_network import CANetwork
from openmm_backmap.training.checkpoint import save_checkpoint
from openmm_backmap.training.config import (
    DistillConfig,
    ModelConfig,
    TrainingConfig,
    VAEConfig,
)
from openmm_backmap.training.distill import (
    DistillStep,
    Lesson,
    compare,
    exchange_types,
    measure_spread,
)
from openmm_backmap.training.export_ca import describe_training
from openmm_backmap.training.loop import Trainer
from openmm_backmap.training.read_config import load_config
from openmm_backmap.training.step import (
    batch_arguments,
    build_network,
    build_step,
)

SMALL = ModelConfig(width=32, n_layers=1, n_heads=4, edge_width=16, dropout=0.0)


def save_teacher(folder: Path, seed: int, width: int = 32) -> Path:
    """A run folder with a network of large random weights."""
    torch.manual_seed(seed)
    model = dataclasses.replace(SMALL, width=width)
    network = CANetwork(width, 1, 4, 16)
    with torch.no_grad():
        for weight in network.parameters():
            if weight.dim() == 2:
                weight.mul_(2.0)
    config = dataclasses.asdict(TrainingConfig(model=model))
    config["optimizer"]["total_steps"] = 1
    state = {"config": config, "network": network.state_dict(), "average": {}}
    state["average"]["shadow"] = {}
    folder.mkdir()
    save_checkpoint(folder, state)
    return folder


def with_teachers(
    config: TrainingConfig, *teachers: Path, **distill: float
) -> TrainingConfig:
    """A configuration that learns from some runs, without dropout."""
    own = DistillConfig(teachers=tuple(map(str, teachers)), **distill)
    model = dataclasses.replace(config.model, dropout=0.0, distill=own)
    return dataclasses.replace(config, model=model)


def test_exchanged_types_come_from_the_batch_and_spare_backbones_of_their_own() -> None:
    torch.manual_seed(0)
    types = torch.arange(20).repeat(50)
    spread = torch.rand(1000) + 0.5
    new = exchange_types(types, 0.5, spread)
    kept = (types == 7) | (types == 14)
    assert torch.equal(new[kept], types[kept])
    assert not bool(((new == 7) | (new == 14))[~kept].any())
    share = float((new != types)[~kept].float().mean())
    assert 0.35 < share < 0.5
    assert torch.equal(exchange_types(types, 0.0, spread), types)


def test_types_are_exchanged_with_residues_about_as_buried() -> None:
    torch.manual_seed(0)
    # type 0 stands in the middle of a ball, type 1 in its shell
    inside = torch.randn(400, 3)
    inside = 0.5 * inside / inside.norm(dim=1, keepdim=True) * torch.rand(400, 1)
    outside = torch.randn(100, 3)
    outside = 3.0 * outside / outside.norm(dim=1, keepdim=True)
    ca = torch.cat((inside, outside))
    nearest = torch.cdist(ca, ca).fill_diagonal_(1e9).topk(16, largest=False).indices
    nearest[:, 12:] = -1
    spread = measure_spread(ca[None], nearest[None])
    by_hand = (ca[nearest[7, :12]] - ca[7]).norm(dim=1).mean()
    assert spread[7] == pytest.approx(float(by_hand), rel=1e-5)
    types = (torch.arange(500) >= 400).long()
    new = exchange_types(types, 1.0, spread)
    # any order would exchange a third of them for the other type
    assert float((new != types).float().mean()) < 0.1
    assert bool((new != types).any())


def test_teachers_answer_the_questions_the_student_is_asked() -> None:
    torch.manual_seed(1)
    student, one, two = (CANetwork(w, 1, 4, 16).eval() for w in (32, 32, 48))
    n = 6
    h = [torch.randn(1, n, w) for w in (32, 32, 48)]
    angle, none = torch.randn(1, n), torch.zeros(1, n, dtype=torch.bool)
    lesson = Lesson(student, [one, two], h[1:], [0.25, 0.75])
    said = lesson.twist_logits(h[0], none, angle)
    assert torch.equal(said, student.twist_logits(h[0], none, angle))
    lesson.end_logits(h[0], angle)
    lesson.cis_logit(h[0])
    both = [net.twist_logits(x, none, angle) for net, x in zip((one, two), h[1:])]
    first, second = (torch.log_softmax(x, -1) for x in both)
    mean = 0.25 * first + 0.75 * second
    torch.testing.assert_close(lesson.answers[0], mean)
    assert [tuple(a.shape) for a in lesson.answers[1:]] == [(1, n, 72)] * 3 + [(1, n)]
    odds = 0.25 * one.cis_logit(h[1]) + 0.75 * two.cis_logit(h[2])
    torch.testing.assert_close(lesson.answers[4], odds)
    assert not any(answer.requires_grad for answer in lesson.answers)


def test_comparing_counts_only_what_is_asked_and_is_least_for_the_same() -> None:
    torch.manual_seed(2)
    answers = [torch.log_softmax(torch.randn(1, 5, 72), -1) for _ in range(9)]
    asked = torch.zeros(1, 5, 9, dtype=torch.bool)
    assert float(compare(answers, answers, asked)) == 0.0
    asked[0, 3, 6] = True
    entropy = float(-(answers[6].exp() * answers[6])[0, 3].sum())
    assert float(compare(answers, answers, asked)) == pytest.approx(entropy, rel=1e-5)
    other = [answer + torch.randn(1, 5, 72) for answer in answers]
    assert float(compare(other, answers, asked)) > entropy + 0.1


def test_a_student_comes_to_agree_with_its_teacher(
    make_config: Callable[..., TrainingConfig], tmp_path: Path
) -> None:
    teacher = save_teacher(tmp_path / "teacher", 3, width=48)
    config = make_config(total_steps=60, learning_rate=5e-3)
    config = with_teachers(config, teacher, label_share=0.0, mutated=0.3)
    trainer = Trainer(config, tmp_path / "run")
    step = trainer.step_module
    assert isinstance(step, DistillStep)
    wise = step.teachers[0]
    arguments = batch_arguments(trainer.sampler.batch(1000))

    def disagree() -> float:
        ca, types, chain, near, sigma = arguments[:5]
        step.eval()
        with torch.no_grad():
            h = step.network(ca, types, chain, near, None, sigma)
            features = [wise(ca, types, chain, near, None, sigma)]
            lesson = Lesson(step.network, [wise], features, step.shares)
            logits = step.loss.compute_logits(lesson, h, chain, *arguments[5:])
            gain = compare(logits, lesson.answers, arguments[6])
            return float(gain - compare(lesson.answers, lesson.answers, arguments[6]))

    before = disagree()
    trainer.run()
    assert disagree() < 0.5 * before


def test_teachers_are_neither_trained_nor_kept(
    make_config: Callable[..., TrainingConfig], tmp_path: Path
) -> None:
    teachers = [save_teacher(tmp_path / name, k) for k, name in enumerate("ab")]
    plain = build_step(make_config().model)
    step = build_step(with_teachers(make_config(), *teachers).model)
    assert step.state_dict().keys() == plain.state_dict().keys()
    assert len(list(step.parameters())) == len(list(plain.parameters()))


def test_the_model_file_names_the_teachers_without_folders(
    make_config: Callable[..., TrainingConfig], tmp_path: Path
) -> None:
    info = {"steps": 3, "residues": 96, "seconds": 1.0, "data_hash": "x"}
    plain = describe_training(make_config(), info)
    assert plain == {"steps": 3, "residues": 96, "seconds": 1.0}
    config = with_teachers(make_config(), tmp_path / "one", tmp_path / "two")
    told = describe_training(config, info)
    assert told == {**plain, "teachers": ["one", "two"], "shares": []}


def test_a_resumed_student_repeats_an_unbroken_one(
    make_config: Callable[..., TrainingConfig], tmp_path: Path
) -> None:
    teacher = save_teacher(tmp_path / "teacher", 4)
    config = with_teachers(make_config(total_steps=6), teacher, mutated=0.5)
    losses = Trainer(config, tmp_path / "a").run()
    first = Trainer(config, tmp_path / "b").run(max_steps=3)
    assert first + Trainer(config, tmp_path / "b").run() == losses


def test_configuration_names_teachers_beside_itself(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        '[optimizer]\ntotal_steps = 5\n[model.distill]\nteachers = ["ca", "runs/b"]\n'
    )
    teachers = load_config(path).model.distill.teachers
    assert teachers == ("ca", str((tmp_path / "runs" / "b").resolve()))
    path.write_text(
        '[optimizer]\ntotal_steps = 5\n[model]\nname = "vae"\n'
        '[model.distill]\nteachers = "ca"\n'
    )
    with pytest.raises(DataError, match="teachers are for name = 'ca'"):
        load_config(path)


def test_types_cannot_be_hidden_from_a_student(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        "[optimizer]\ntotal_steps = 5\n[model]\ntype_dropout = 0.1\n"
        '[model.distill]\nteachers = "ca"\n'
    )
    with pytest.raises(DataError, match="type_dropout is not used with teachers"):
        load_config(path)


def test_no_teacher_is_asked_of_padding(
    make_config: Callable[..., TrainingConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    teacher = save_teacher(tmp_path / "teacher", 6)
    config = with_teachers(make_config(), teacher, mutated=1.0)
    trainer = Trainer(config, tmp_path / "run")
    seen: list[torch.Tensor] = []

    def note(logits: list, answers: list, asked: torch.Tensor) -> torch.Tensor:
        seen.append(asked)
        return compare(logits, answers, asked)

    monkeypatch.setattr("openmm_backmap.training.distill.compare", note)
    # the first one that is padded
    batches = map(trainer.sampler.batch, range(64))
    batch = next(b for b in batches if not bool(b.known.any(-1).all()))
    is_real = batch.known.any(-1)
    for _ in range(8):
        trainer.step_module(*batch_arguments(batch))
    assert all(not bool(asked[~is_real].any()) for asked in seen)
    # where types were exchanged, chi are asked for that no structure tells
    assert any(bool((asked & ~batch.known).any()) for asked in seen)


@pytest.mark.parametrize("shares", ["[1.0]", "[0, 0]", "[1, -1]", '["a", "b"]'])
def test_shares_that_do_not_fit_are_refused(tmp_path: Path, shares: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        '[optimizer]\ntotal_steps = 5\n[model.distill]\nteachers = ["ca", "b"]\n'
        f"shares = {shares}\n"
    )
    with pytest.raises(DataError, match="shares"):
        load_config(path)


def test_a_teacher_of_another_kind_is_refused(tmp_path: Path) -> None:
    vae = VAEConfig(n_latent=4, n_scalars=4, n_vectors=2, n_tensors=1)
    model = dataclasses.replace(SMALL, name="vae", vae=vae)
    config = dataclasses.asdict(TrainingConfig(model=model))
    config["optimizer"]["total_steps"] = 1
    weights = build_network(model).state_dict()
    save_checkpoint(
        tmp_path, {"config": config, "network": weights, "average": {"shadow": {}}}
    )
    own = DistillConfig(teachers=(str(tmp_path),))
    with pytest.raises(DataError, match="is no network of 'ca'"):
        build_step(dataclasses.replace(SMALL, distill=own))

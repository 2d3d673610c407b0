"""The TorchScript backend: saving, loading and running model files."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Optional

import torch
from torch import Tensor, nn

from openmm_backmap.artifact.layout import compute_layout_hash
from openmm_backmap.artifact.metadata import METADATA_FILE, ModelMetadata
from openmm_backmap.errors import BadOutputError, ModelError

__all__ = ["TorchScriptEngine", "save_torchscript"]


@contextmanager
def _known_deprecation() -> Iterator[None]:
    """Hide only torch's notice that TorchScript is legacy; we test export too."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.*", module="torch")
        warnings.filterwarnings("ignore", message=".*`torch.jit.*")
        yield


def save_torchscript(
    module: nn.Module, metadata: ModelMetadata, path: str | Path
) -> Path:
    """Script a module and write it with its metadata into one file.

    Parameters
    ----------
    module : torch.nn.Module
        Its forward follows `openmm_backmap.artifact.engine.Engine.run`.
    metadata : ModelMetadata
        Goes into the file.
    path : str or pathlib.Path
        Where to; replaced in one step, so a reader never sees half a file.

    Returns
    -------
    pathlib.Path
        The file.
    """
    path = Path(path)
    with _known_deprecation():
        scripted = torch.jit.script(module.eval().cpu())
        partial = path.with_name(path.name + ".part")
        torch.jit.save(
            scripted, str(partial), _extra_files={METADATA_FILE: metadata.to_json()}
        )
    partial.replace(path)
    return path


class TorchScriptEngine:
    """A TorchScript model on a device.

    Parameters
    ----------
    path : str or pathlib.Path
        A file made by `save_torchscript`.
    device : torch.device
        Where it runs.

    Raises
    ------
    ModelError
        If the file is not a model of ours or of another format.
    """

    def __init__(self, path: str | Path, device: torch.device) -> None:
        self.path = Path(path)
        self.device = device
        extra = {METADATA_FILE: ""}
        try:
            with _known_deprecation():
                module = torch.jit.load(
                    str(path), map_location=device, _extra_files=extra
                )
        except (RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelError(
                f"{path}: this is not a model file that torch {torch.__version__} "
                f"can read ({reason}); wanted a .pt file made by "
                "`openmm-backmap export`"
            ) from error
        text = extra[METADATA_FILE]
        if isinstance(text, bytes):  # torch.jit.load hands bytes back
            text = text.decode()
        self.metadata = ModelMetadata.from_json(text, str(path))
        layout = compute_layout_hash()
        if self.metadata.atom_layout not in ("", layout):
            raise ModelError(
                f"{path}: made for another order of residues or atom slots "
                f"({self.metadata.atom_layout}, here {layout}); export it again with "
                "this version"
            )
        self._module = module.eval()
        schema = module.forward.schema
        self._arguments = {argument.name for argument in schema.arguments}
        # of its own: kernels of OpenMM or of the user's torch are not waited for
        self._stream = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)

    def __reduce__(self) -> tuple[type, tuple[Path, torch.device]]:
        """Go to another process, or into a copy, as the file to load there."""
        return TorchScriptEngine, (self.path, self.device)

    def run(
        self,
        bead_positions: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        neighbor_index: Tensor,
        box: Tensor,
        noise: Optional[Tensor] = None,  # noqa: UP045
        template: Optional[Tensor] = None,  # noqa: UP045
        exact: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Backmap a batch of frames; see `Engine.run`."""
        inputs = [bead_positions, residue_type, chain_index, neighbor_index, box, noise]
        extra: dict[str, bool | Tensor] = {}
        if template is not None:
            extra["template"] = template.to(self.device).contiguous()
        if exact:
            extra["exact"] = True
        missing = sorted(set(extra) - self._arguments)
        if missing:
            raise ModelError(
                f"{self.path}: model {self.metadata.name} was exported before "
                f"{missing[0]} could be asked for; export it again, or leave it out"
            )
        with self._on_stream():
            return self._run(inputs, extra)

    def _on_stream(self) -> AbstractContextManager:
        """Make the engine's stream and device the thread's own for a while."""
        return (
            nullcontext() if self._stream is None else torch.cuda.stream(self._stream)
        )

    def _run(
        self,
        inputs: Sequence[Optional[Tensor]],  # noqa: UP045
        extra: Mapping[str, bool | Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Run the module; the check of its result waits until it is there."""
        target = self.device
        # without torch's profiling executor: its specialisation takes 5 to 9 s
        # for each new shape and twice the memory, and saves a tenth per frame
        with (
            torch.inference_mode(),
            torch.jit.optimized_execution(False),
            # the caller's half precision is not for positions in nm
            torch.autocast(target.type, enabled=False),
        ):
            positions, confidence = self._module(
                *(None if x is None else x.to(target).contiguous() for x in inputs),
                **extra,
            )
        if not bool(torch.isfinite(positions).all()):
            frame, residue = torch.nonzero(~torch.isfinite(positions).all(-1).all(-1))[
                0
            ].tolist()
            raise BadOutputError(self.metadata.name, frame, residue)
        return positions, confidence

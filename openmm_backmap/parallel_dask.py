"""Workers of a Dask cluster."""

import pickle
from pathlib import Path
from typing import Any

from openmm_backmap.errors import BackmapError, InputError
from openmm_backmap.frame_processor import StepResult
from openmm_backmap.parallel import Chunk, ProcessorSpec, compute_chunk

__all__ = ["DaskWorkers"]


class DaskWorkers:
    """Workers of a Dask cluster; it redoes itself what a dead one had.

    Parameters
    ----------
    spec : ProcessorSpec
        What they do.
    address : str
        Of the scheduler, such as "tcp://host:8786", or its file (.json).

    Raises
    ------
    InputError
        If dask.distributed is not installed, the scheduler does not answer or
        its file is not there.
    """

    def __init__(self, spec: ProcessorSpec, address: str) -> None:
        try:
            import distributed
        except ImportError as error:
            raise InputError(
                "a Dask scheduler needs the extra cluster: pip install "
                "openmm-backmap[cluster]"
            ) from error
        where = {"address": address}
        if address.endswith(".json"):
            # dask itself waits for it, for ever
            if not Path(address).is_file():
                raise InputError(
                    f"scheduler {address}: no such file; start the scheduler first "
                    "(dask scheduler --scheduler-file), or check the name"
                )
            where = {"scheduler_file": address}
        try:
            self._client = distributed.Client(**where, set_as_default=False)
        except (OSError, ValueError) as error:
            raise InputError(
                f"scheduler {address}: no answer ({error}); is it running?"
            ) from error
        self._killed = distributed.KilledWorker
        self._spec = pickle.dumps(spec)

    @property
    def n_workers(self) -> int:
        """Workers that the scheduler has now."""
        return len(self._client.nthreads())

    def submit(self, chunk: Chunk) -> Any:  # noqa: ANN401
        """Give a chunk to the cluster.

        Parameters
        ----------
        chunk : Chunk
            The frames.

        Returns
        -------
        distributed.Future
            For `wait`.
        """
        # not pure: a key from the content would cost more than it brings
        return self._client.submit(compute_chunk, self._spec, chunk, pure=False)

    def wait(self, ticket: Any) -> list[StepResult]:  # noqa: ANN401
        """Wait for the results of a chunk.

        Parameters
        ----------
        ticket : distributed.Future
            From `submit`.

        Returns
        -------
        list of StepResult
            One a frame.

        Raises
        ------
        BackmapError
            If workers die again and again at this chunk.
        """
        try:
            return ticket.result()
        except self._killed as error:
            raise BackmapError(
                f"Dask gave up a chunk whose workers died again and again ({error}); "
                "out of memory? Try a smaller --chunk"
            ) from error
        finally:
            ticket.release()

    def close(self) -> None:
        """Leave the cluster; its workers go on."""
        self._client.close()

"""Samples: the rows of an evaluator, one per record, checked and gathered over processes.

Each evaluator keeps one small row per sample. `Samples` makes sure that no row is missing or given
twice, and returns the rows in the order of the data set, so that a result does not depend on the
number of processes, the batch size or the order of arrival.
"""

from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import detectron2.utils.comm as comm
from detectron2.data import DatasetCatalog

from segplugins.evaluation.gallery import Gallery, Thinned
from segplugins.evaluation.sample_identity import IDENTITY, describe, sample_key


class Samples:
    """The rows of one data set.

    Args:
        dataset_name: registered in detectron2's DatasetCatalog.
        distributed: gather over all processes; False where each works on a data set of its own.
        gallery: keeps the best and the worst pictures; None = no pictures.
        required: keys that every record of the catalog must have.

    Raises:
        ValueError: two records have the same identity, or a record lacks a required key.
    """

    def __init__(
        self,
        dataset_name: str,
        *,
        distributed: bool = True,
        gallery: Optional[Gallery] = None,
        required: Sequence[str] = (),
    ):
        self.dataset_name = dataset_name
        self.gallery = gallery
        self._distributed = distributed
        self._records: Dict[Tuple, dict] = {}
        for record in DatasetCatalog.get(dataset_name):
            missing = [key for key in required if record.get(key) is None]
            if missing:
                raise ValueError(
                    f"'{dataset_name}': {describe(record)} has no '{missing[0]}', which this "
                    f"evaluation needs in every record"
                )
            key = sample_key(record)
            if key in self._records:
                raise ValueError(
                    f"data set '{dataset_name}' has two records {describe(record)}; give them "
                    f"different values of one of {IDENTITY}"
                )
            self._records[key] = record
        self.reset()

    def __len__(self) -> int:
        return len(self._records)

    @property
    def records(self) -> List[dict]:
        """The records of the catalog, in its order."""
        return list(self._records.values())

    @property
    def names(self) -> Tuple[str, ...]:
        """How messages name the records, in the order of the catalog."""
        return tuple(describe(record) for record in self._records.values())

    def reset(self) -> None:
        """Forgets all rows and pictures."""
        self._rows: Dict[Tuple, Any] = {}
        if self.gallery is not None:
            self.gallery.reset()

    def pairs(
        self, inputs: Sequence[Mapping], outputs: Sequence[Mapping]
    ) -> Iterator[Tuple[Mapping, dict, Mapping]]:
        """Yields what belongs to one sample.

        Yields:
            Per sample the record that the model received, the catalog's record, which holds the
            truth, and the model's output.

        Raises:
            ValueError: not one output per record, a record that is not of this data set, one that
                has a row already, or an output that is no mapping.
        """
        if len(inputs) != len(outputs):
            raise ValueError(f"{len(outputs)} outputs for {len(inputs)} records; one each expected")
        for model_input, output in zip(inputs, outputs):
            record = self._record_of(model_input)
            if sample_key(record) in self._rows:
                raise ValueError(
                    f"two predictions for {describe(record)}; each image is scored once"
                )
            if not isinstance(output, Mapping):
                raise ValueError(
                    f"{describe(record)}: the model gave a {type(output).__name__}, expected a "
                    "dict of results"
                )
            yield model_input, record, output

    def _record_of(self, model_input: Mapping[str, Any]) -> dict:
        record = self._records.get(sample_key(model_input))
        if record is None:
            raise ValueError(
                f"{describe(model_input)} is not one of the {len(self)} records of data set "
                f"'{self.dataset_name}': does the loader read another one?"
            )
        files = [str(r["file_name"]) for r in (model_input, record) if "file_name" in r]
        if len(set(files)) > 1:
            raise ValueError(
                f"{describe(model_input)} is {files[1]} in data set '{self.dataset_name}': does "
                "the loader read another one?"
            )
        return record

    def add(self, record: Mapping[str, Any], row: Any) -> None:
        """Keeps the row of a record, which counts as scored from then on.

        Args:
            record: see `sample_key`.
            row: what `gather` returns: small, and picklable.

        Raises:
            ValueError: the record has a row already.
        """
        key = sample_key(record)
        if key in self._rows:
            raise ValueError(f"two predictions for {describe(record)}; each image is scored once")
        self._rows[key] = row

    def show(
        self,
        record: Mapping[str, Any],
        score: float,
        caption: str,
        names: Sequence[str],
        size: Tuple[int, int],
        thinned: Thinned,
    ) -> None:
        """Offers a record of the catalog to the gallery, if there is one; see `Gallery.offer`."""
        if self.gallery is not None:
            self.gallery.offer(describe(record), record, score, caption, names, size, thinned)

    def gather(self) -> Optional[List[Any]]:
        """Brings the rows, and the pictures, of all processes together.

        Samplers that hand every process equally many samples give some of them out twice; such a
        sample counts once, with the row of the lowest rank.

        Returns:
            One row per record in the order of the data set; None on all processes but the first.

        Raises:
            ValueError: a record has no row.
        """
        shares = comm.gather(self._rows) if self._distributed else [self._rows]
        if self._distributed and self.gallery is not None:
            self.gallery.join(comm.all_gather(self.gallery.pictures))
        if self._distributed and not comm.is_main_process():
            return None
        rows: Dict[Tuple, Any] = {}
        for share in reversed(shares):
            rows.update(share)
        missing = [record for key, record in self._records.items() if key not in rows]
        if missing:
            raise ValueError(
                f"{len(missing)} of {len(self)} records of '{self.dataset_name}' have no "
                f"prediction; the first is {describe(missing[0])}"
            )
        return [rows[key] for key in self._records]

    def repeated(self) -> List[dict]:
        """Returns the records of which this process and one of lower rank have a row.

        For evaluators that keep sums: they take these back before the sums are joined.
        """
        if not self._distributed or comm.get_world_size() == 1:
            return []
        shares = comm.all_gather(set(self._rows))
        before = set().union(*shares[: comm.get_rank()])
        return [self._records[key] for key in self._rows if key in before]

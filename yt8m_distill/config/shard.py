"""One of several parts of the input."""

from collections.abc import Sequence
from dataclasses import dataclass

from yt8m_distill.config.settings import check_minimum
from yt8m_distill.errors import UserError


@dataclass(frozen=True)
class Shard:
    """One of several parts of the input files, which together are all of them, each once.

    Attributes:
        index: which one, from 0.
        count: of the parts.
    """

    index: int
    count: int

    def __post_init__(self):
        check_minimum("num_shards", self.count, 1)
        if not 0 <= self.index < self.count:
            raise UserError(f"--shard_index must be from 0 to {self.count - 1}, not {self.index}.")

    def of(self, files: Sequence[str]) -> tuple[str, ...]:
        """The files of this part: those of part 0 come first, and so on, so that parts in order are all in order."""
        begin, end = (len(files) * place // self.count for place in (self.index, self.index + 1))
        return tuple(files[begin:end])

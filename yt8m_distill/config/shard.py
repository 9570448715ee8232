"""One of several parts of the input."""

from collections.abc import Sequence
from dataclasses import dataclass

from yt8m_distill.config.settings import REQUIRED, Settings, setting


@dataclass(frozen=True)
class Shard(Settings):
    """One of several parts of the input, which together are all of it, each item once.

    Example:
        >>> [Shard(index, 3).of("abcd") for index in range(3)]
        ['a', 'b', 'cd']
        >>> [Shard(index, 3).of_at_least_one("ab") for index in range(3)]
        ['a', 'a', 'b']
    """

    index: int = setting(REQUIRED, "Index of this shard, from 0.", flag="shard_index")
    count: int = setting(REQUIRED, "Number of shards of the input files.", flag="num_shards", at_least=1)

    def __post_init__(self):
        self.check_settings()
        if not 0 <= self.index < self.count:
            raise self.error("{index} must be from 0 to {}, not {}.", self.count - 1, self.index)

    def of(self, items: Sequence) -> Sequence:
        """The items of this part: those of part 0 come first, and so on, so that parts in order are all in order."""
        begin, end = self._bounds(len(items))
        return items[begin:end]

    def of_at_least_one(self, items: Sequence) -> Sequence:
        """The same, but where there are fewer items than parts, some parts have one item that is another part's.

        For processes that must take part in a computation although none of the items is theirs.
        """
        begin, end = self._bounds(len(items))
        return items[begin:end] if begin < end else items[min(begin, len(items) - 1) :][:1]

    def _bounds(self, count: int) -> tuple[int, int]:
        return count * self.index // self.count, count * (self.index + 1) // self.count

"""Progress bars that look alike: rates are units per second, however slow, and estimated totals are called so."""

from types import TracebackType
from typing import Any

from tqdm import tqdm

# As tqdm's own, but for the rate, which tqdm turns into seconds per unit where it is below 1.
_FORMAT = "{{l_bar}}{{bar}}| {{n_fmt}}{of}{{total_fmt}} [{{elapsed}}<{{remaining}}, {{rate_noinv_fmt}}{{postfix}}]"
_EXACT, _ESTIMATED = _FORMAT.format(of="/"), _FORMAT.format(of=" of about ")


class ProgressBar(tqdm):
    """A progress bar on stderr.

    Used as a context manager, it ends complete where no exception ends it: an estimated total becomes the true one.

    Args:
        total: of all units.
        description: in front of the bar.
        unit: with a space before it where it is a word: " videos".
        is_estimate: whether the total may be too low or too high; what exceeds it is taken as the total.
        **options: of `tqdm`.

    Example:
        >>> import io
        >>> text = io.StringIO()
        >>> with ProgressBar(90, "Reading", " videos", is_estimate=True, file=text) as bar:
        ...     _ = bar.update(50)
        >>> "0 of about 90 [" in text.getvalue(), "50/50 [" in text.getvalue()
        (True, True)
    """

    def __init__(self, total: float, description: str, unit: str, *, is_estimate: bool = False, **options: Any):
        self._is_estimate = is_estimate
        form = _ESTIMATED if is_estimate else _EXACT
        super().__init__(total=total, desc=description, unit=unit, bar_format=form, mininterval=1.0, **options)

    @property
    def format_dict(self) -> dict[str, Any]:
        """What the bar shows."""
        values = super().format_dict
        if self._is_estimate:
            values["total"] = max(values["total"], values["n"])
        return values

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None):
        if kind is None and self._is_estimate and not self.disable:
            self.total, self.bar_format = self.n, _EXACT
            self.refresh()
        return super().__exit__(kind, value, trace)

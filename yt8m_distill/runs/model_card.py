"""What the model cards of runs and exports have in common: the header that hubs of models read, and the license."""

import json
from collections.abc import Mapping, Sequence

from yt8m_distill.config.dataset import EDITIONS, DatasetSpec

FILE_NAME = "README.md"
DISTILLED = "knowledge-distillation"  # the tag of a student
METRICS = ("GAP@20", "mAP", "mAP_full", "Hit@1", "PERR", "MAP@100000")
_LIBRARY = "yt8m_distill"


def header(model: str, data: DatasetSpec, metrics: Mapping[str, float], tags: Sequence[str] = ()) -> str:
    """The YAML front matter of a card, of which each value is written as JSON, which is YAML, too.

    Args:
        model: its name in the registry.
        data: that it was trained on.
        metrics: of an evaluation; those in `METRICS` count. Empty: it was not evaluated.
        tags: in addition to those of every model.
    """
    measured = {name: metrics[name] for name in METRICS if name in metrics}
    published = _is_published(data)
    dataset = data.edition.lower().replace(" ", "-")
    values = {
        "license": "cc-by-4.0" if published else "unknown",
        "library_name": _LIBRARY,
        "pipeline_tag": "video-classification",
        "tags": [_LIBRARY, "video-classification", model.lower(), *tags],
    }
    if published:
        values["datasets"] = [dataset]
    if measured:
        results = {
            "task": {"type": "video-classification"},
            "dataset": {"name": data.edition, "type": dataset},
            "metrics": [{"type": name, "value": value} for name, value in measured.items()],
        }
        values |= {"metrics": list(measured), "model-index": [{"name": model, "results": [results]}]}
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in values.items()]
    return "\n".join(["---", *lines, "---"])


def license_of_data(data: DatasetSpec) -> str:
    """A section about what the data that a model was trained on asks for."""
    if _is_published(data):
        text = (
            f"The features and labels of {data.edition} that the model was trained on are Google's, under CC BY 4.0 "
            "(https://creativecommons.org/licenses/by/4.0/): name them as the source if you pass the model on."
        )
    else:
        text = "The model was trained on other features, whose license is not known here."
    return f"## License of the data\n\n{text}"


def _is_published(data: DatasetSpec) -> bool:
    return data.edition in {edition.name for edition in EDITIONS}

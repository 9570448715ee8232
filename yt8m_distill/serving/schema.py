"""The description of the interface in `/openapi.json`: what may be sent, with examples, and what is answered."""

from typing import Any

from yt8m_distill.config.deployment import ServeConfig
from yt8m_distill.deployment.manifest import Manifest
from yt8m_distill.serving.film_body import FILM_TYPES, MULTIPART

_EXAMPLE_FRAMES = 2
_STEPS = ("receiving_and_parsing", "prediction", "all")
_STEPS_OF_FILMS = ("receiving_and_decoding", "features", "prediction", "all")


def predict_description(manifest: Manifest, config: ServeConfig) -> dict[str, Any]:
    """Keyword arguments of the route `/predict`: the bodies that it takes and its answers."""
    return {
        "summary": "Labels of videos",
        "description": f"The best classes of up to {config.max_batch} videos. All frames of a video may be sent; those "
        f"that the model sees ({manifest.selection.describe()}) are selected here. {_asked(manifest)}",
        "openapi_extra": {"requestBody": {"required": True, "content": _bodies(manifest, config)}},
        "responses": {200: _answer(manifest), **_refusals(config), "default": _error("any other error")},
    }


def film_description(manifest: Manifest, config: ServeConfig) -> dict[str, Any]:
    """Keyword arguments of the route `/predict_film`."""
    films = config.films
    body = _file(
        f"a film, at most {films.max_film_mb:g} MB and {films.max_film_seconds:g} seconds", "the bytes of film.mp4"
    )
    form = _object({"film": {"type": "string", "format": "binary"}}, name="a form with one file")
    bodies = {name: {"schema": form} if name == MULTIPART else body for name in FILM_TYPES}
    return {
        "summary": "Labels of a film",
        "description": f"The best classes of a film, of which the frames that the model sees "
        f"({manifest.selection.describe()}) are decoded. `film` in the answer has the seconds of these frames, and "
        f"what could not be decoded; `milliseconds` says what took how long. {_asked(manifest)}",
        "openapi_extra": {"requestBody": {"required": True, "content": bodies}},
        "responses": {200: _film_answer(manifest), **_film_refusals(config), "default": _error("any other error")},
    }


def _asked(manifest: Manifest) -> str:
    numbers = ", ".join(map(str, manifest.numbers)) or "none, as the model was trained for one number"
    return (
        f"`frames` asks for fewer frames; to choose from: {numbers}. With `details` the answer says which of a video's "
        "`all_frames` were looked at (`positions`, from 0; null where they are chosen by their features), and what "
        "took how long."
    )


def _bodies(manifest: Manifest, config: ServeConfig) -> dict[str, Any]:
    data, limit = manifest.data, f"at most {config.max_request_mb:g} MB"
    size = data.frame_size
    features = ", ".join(f"{n} of {name}" for name, n in zip(data.feature_names, data.feature_sizes, strict=True))
    return {
        "application/json": {"schema": _json_body(size, features, config.max_batch), "example": _json_example(size)},
        "application/x-npz": _file(
            f"a file of numpy.savez, {limit}: `frames` uint8 (videos, frames, {size}) and, where videos have fewer, "
            "`num_frames` (videos,)",
            f"numpy.savez(file, frames=numpy.zeros((1, 300, {size}), numpy.uint8), num_frames=[300])",
        ),
        "application/x-tfrecord": _file(
            f"a TFRecord file, {limit}, of records as they are published: tf.train.SequenceExample",
            "the bytes of test0000.tfrecord",
        ),
    }


def _file(description: str, example: str) -> dict[str, Any]:
    return {"schema": {"type": "string", "format": "binary", "description": description}, "example": example}


def _json_body(size: int, features: str, most_videos: int) -> dict[str, Any]:
    value = {"type": "integer", "minimum": 0, "maximum": 255}
    frame = {"type": "array", "items": value, "minItems": size, "maxItems": size, "description": f"{features}."}
    video = _object(
        {"id": {"type": "string"}, "frames": {"type": "array", "items": frame}}, required=["frames"], name="a video"
    )
    videos = {"type": "array", "items": video, "minItems": 1, "maxItems": most_videos}
    return _object({"videos": videos}, required=["videos"], name="videos with their quantized frames")


def _json_example(size: int) -> dict[str, Any]:
    frames = [[(frame + value) % 256 for value in range(size)] for frame in range(_EXAMPLE_FRAMES)]
    return {"videos": [{"id": "mine", "frames": frames}]}


def _answer(manifest: Manifest) -> dict[str, Any]:
    named = manifest.class_names is not None
    label = {"index": {"type": "integer"}, **({"name": {"type": "string"}} if named else {})}
    labels = {"type": "array", "items": _object({**label, "score": {"type": "number"}}, name="a class")}
    frames = {"type": "integer", "description": "the number that the model saw"}
    told = {
        "all_frames": {"type": ["integer", "null"], "description": "with `details`: of the video"},
        "positions": {
            "type": ["array", "null"],
            "items": {"type": "integer"},
            "description": "with `details`: of the frames that the model saw, from 0",
        },
    }
    video = _object(
        {"id": {"type": "string"}, "frames": frames, **told, "labels": labels},
        name="a video",
        required=["id", "frames", "labels"],
    )
    example = {"index": 0, **({"name": manifest.class_names[0]} if named else {}), "score": 0.91}
    return {
        "description": "the best classes of each video, best first",
        "content": {
            "application/json": {
                "schema": _object(
                    {"videos": {"type": "array", "items": video}, "milliseconds": _milliseconds(_STEPS)},
                    name="the videos in their order",
                    required=["videos"],
                ),
                "example": {"videos": [{"id": "mine", "frames": _EXAMPLE_FRAMES, "labels": [example]}]},
            }
        },
    }


def _film_answer(manifest: Manifest) -> dict[str, Any]:
    answer = _answer(manifest)
    number, whole = {"type": "number", "minimum": 0}, {"type": "integer", "minimum": 0}
    film = {
        "seconds": {**number, "description": "duration"},
        "all_frames": {**whole, "description": "frames that an extraction of the whole film looks at"},
        "times": {"type": "array", "items": number, "description": "seconds of the frames that were looked at"},
        "has_sound": {"type": "boolean"},
        "problems": {"type": "array", "items": {"type": "string"}, "description": "what could not be decoded"},
    }
    (content,) = answer["content"].values()
    videos = {**content["schema"]["properties"]["videos"], "minItems": 1, "maxItems": 1}
    parts = {"film": _object(film, name="the film"), "milliseconds": _milliseconds(_STEPS_OF_FILMS)}
    content["schema"] = _object({"videos": videos, **parts}, name="the labels of the film")
    content["example"] |= {
        "film": {"seconds": 8.5, "all_frames": 8, "times": [2.0, 6.0], "has_sound": True, "problems": []},
        "milliseconds": dict(zip(_STEPS_OF_FILMS, (170.5, 81.3, 4.2, 256.0), strict=True)),
    }
    return answer


def _milliseconds(steps: tuple[str, ...]) -> dict[str, Any]:
    return _object({step: {"type": "number", "minimum": 0} for step in steps}, name="what took how long")


def _film_refusals(config: ServeConfig) -> dict[int, Any]:
    films = config.films
    too_large = (
        f"the film is larger than {films.max_film_mb:g} MB or longer than {films.max_film_seconds:g} seconds, or takes "
        f"more than {films.film_memory_mb:g} MB or {films.film_timeout:g} seconds of processor time to decode"
    )
    special = {
        400: _error("the film cannot be decoded, or the form is damaged or has not one file; `detail` says why"),
        413: _error(too_large),
        503: _error("too many films or videos are being processed; try again later"),
    }
    return {**_refusals(config), **special}


def _refusals(config: ServeConfig) -> dict[int, Any]:
    descriptions = {
        400: "the content is invalid; `detail` names file, record, video or value",
        408: f"the body did not arrive within {config.body_timeout:g} seconds",
        413: f"the body is larger than {config.max_request_mb:g} MB, or takes too much memory or time to read",
        415: "another Content-Type",
        503: "too many requests; try again later",
    }
    return {status: _error(description) for status, description in descriptions.items()}


def _error(description: str) -> dict[str, Any]:
    schema = _object({"detail": {"type": "string"}}, name="what is wrong")
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _object(properties: dict[str, Any], *, name: str, required: list[str] | None = None) -> dict[str, Any]:
    names = list(properties) if required is None else required
    return {"type": "object", "description": name, "properties": properties, "required": names}

# syntax=docker/dockerfile:1
# Two images, one to train, evaluate, predict and export, one to serve an export (docs/deployment.md, "Containers"):
#     docker build --target=train --tag=yt8m-train .
#     docker build --target=serve --tag=yt8m-serve .

ARG PYTHON_TAG=3.13.9-slim-trixie

FROM python:${PYTHON_TAG} AS wheel
WORKDIR /source
COPY setup.py pyproject.toml README.md LICENSE ./
COPY yt8m_distill ./yt8m_distill
RUN pip wheel --no-cache-dir --no-deps --wheel-dir=/wheels .

FROM python:${PYTHON_TAG} AS base
ENV PYTHONUNBUFFERED=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
# Numeric, so that Kubernetes's runAsNonRoot can tell; /work is where runs and exports are mounted.
RUN useradd --create-home --uid=10001 --shell=/usr/sbin/nologin yt8m \
    && install --directory --owner=10001 --group=10001 /work

# --build-arg=EXTRAS=export,plots,video,gpu adds CUDA's libraries, for docker run --gpus=all.
FROM base AS train
ARG EXTRAS=export,plots,video
# What is installed is the one wheel from above; its dependencies have ranges in setup.py.
# hadolint ignore=DL3013
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    set -- /wheels/*.whl && pip install --no-cache-dir "$1[${EXTRAS}]"
# The sample data and the caches of libraries; also where --user gives an id that has no home here.
ENV XDG_CACHE_HOME=/tmp/cache \
    KERAS_HOME=/tmp/keras \
    MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /work
USER 10001:10001
ENTRYPOINT ["yt8m"]
CMD ["--help"]

FROM base AS serve
ARG EXTRAS=export,serve,video
# hadolint ignore=DL3013
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    set -- /wheels/*.whl && pip install --no-cache-dir "$1[${EXTRAS}]"
ENV KERAS_HOME=/tmp/keras
WORKDIR /work
USER 10001:10001
EXPOSE 8000
# Importing, loading and checking the model come before the first answer.
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
# The export is mounted at /export; more flags of serve may follow, but for --port.
ENTRYPOINT ["yt8m", "serve", "--model_dir=/export", "--host=0.0.0.0", "--port=8000"]

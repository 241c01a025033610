# Landmark tensors to published checkpoints: torch, no MediaPipe. pip takes the CUDA build of torch unless a pip.conf, given as
# the build secret `pip`, names a place that has the CPU build.
ARG BASE=python:3.11-slim-bookworm@sha256:528257d48c1da0dcecc2e725d1ae34498d60c965f1241e39cd6a85a8859bdf84
FROM ${BASE} AS build
RUN python -m venv --without-pip /opt/signet
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# What changes seldom first: the dependencies are installed for a package that is still empty.
COPY deploy/install-locked ./
COPY deploy/locks/trainer.lock deploy/locks/cuda.lock ./locks/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    sh install-locked /opt/signet/bin/python locks/trainer.lock
COPY pyproject.toml ./
RUN mkdir signet services && touch README.md LICENSE signet/__init__.py services/__init__.py \
    && pip --python /opt/signet/bin/python install --no-deps --no-build-isolation .

FROM ${BASE}
RUN useradd --system --uid 10001 --no-create-home --home-dir /tmp signet
COPY --from=build /opt/signet /opt/signet
COPY LICENSE /app/LICENSE
COPY signet /app/signet
COPY services/__init__.py services/cli.py services/token_cli.py /app/services/
COPY services/trainer /app/services/trainer
ENV PATH=/opt/signet/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 GRPC_VERBOSITY=ERROR \
    SIGNET_HOST=0.0.0.0 SIGNET_PORT=50052 SIGNET_METRICS_PORT=9102 \
    MPLCONFIGDIR=/tmp/matplotlib NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /app
USER 10001
EXPOSE 50052 9102
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --start-interval=1s --retries=3 \
    CMD ["python", "-m", "signet.rpc.health", "http://127.0.0.1:9102/healthz"]
ENTRYPOINT ["python", "-m", "services.trainer"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="signet-trainer" \
      org.opencontainers.image.description="Signet's trainer: landmark tensors to published checkpoints" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.base.name="python:3.11-slim-bookworm"

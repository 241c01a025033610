# Video to landmark tensors: MediaPipe's networks in ONNX Runtime, and PyAV; no torch. The build argument DEVICE is cpu or
# cuda. For cuda, ONNX Runtime's build for NVIDIA GPUs takes the place of the other, with CUDA's libraries.
ARG BASE=python:3.11-slim-bookworm@sha256:528257d48c1da0dcecc2e725d1ae34498d60c965f1241e39cd6a85a8859bdf84
FROM ${BASE} AS build
RUN python -m venv --without-pip /opt/signet
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# What changes seldom first: the dependencies are installed for a package that is still empty.
COPY deploy/install-locked ./
COPY deploy/locks/extractor.lock ./locks/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    sh install-locked /opt/signet/bin/python locks/extractor.lock
COPY pyproject.toml ./
RUN mkdir signet services && touch README.md LICENSE signet/__init__.py services/__init__.py \
    && pip --python /opt/signet/bin/python install --no-deps --no-build-isolation . \
    && pip --python /opt/signet/bin/python uninstall --yes setuptools

ARG DEVICE=cpu
COPY deploy/locks/extractor-gpu.lock ./locks/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    if [ "$DEVICE" = cuda ]; then \
        pip --python /opt/signet/bin/python uninstall --yes onnxruntime \
        && sh install-locked /opt/signet/bin/python locks/extractor-gpu.lock; \
    fi

FROM ${BASE}
RUN useradd --system --uid 10001 --no-create-home --home-dir /tmp signet
COPY --from=build /opt/signet /opt/signet
COPY LICENSE /app/LICENSE
COPY signet /app/signet
COPY services/__init__.py services/cli.py services/token_cli.py /app/services/
COPY services/extractor /app/services/extractor
ENV PATH=/opt/signet/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 GRPC_VERBOSITY=ERROR \
    SIGNET_HOST=0.0.0.0 SIGNET_PORT=50051 SIGNET_METRICS_PORT=9101 SIGNET_WLASL=/data/wlasl \
    MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /app
USER 10001
EXPOSE 50051 9101
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --start-interval=1s --retries=3 \
    CMD ["python", "-m", "signet.rpc.health", "http://127.0.0.1:9101/healthz"]
ENTRYPOINT ["python", "-m", "services.extractor"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="signet-extractor" \
      org.opencontainers.image.description="Signet's extractor: sign-language video to landmark tensors" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.base.name="python:3.11-slim-bookworm"

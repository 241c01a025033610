# Published checkpoints to predictions and reports: onnxruntime, neither torch nor MediaPipe.
ARG BASE=python:3.11-slim-bookworm@sha256:528257d48c1da0dcecc2e725d1ae34498d60c965f1241e39cd6a85a8859bdf84
FROM ${BASE} AS build
RUN python -m venv --without-pip /opt/signet
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# What changes seldom first: the dependencies are installed for a package that is still empty.
COPY deploy/install-locked ./
COPY deploy/locks/evaluator.lock ./locks/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    sh install-locked /opt/signet/bin/python locks/evaluator.lock
COPY pyproject.toml ./
RUN mkdir signet services && touch README.md LICENSE signet/__init__.py services/__init__.py \
    && pip --python /opt/signet/bin/python install --no-deps --no-build-isolation . \
    && pip --python /opt/signet/bin/python uninstall --yes setuptools

FROM ${BASE}
RUN useradd --system --uid 10001 --no-create-home --home-dir /tmp signet
COPY --from=build /opt/signet /opt/signet
COPY LICENSE /app/LICENSE
COPY signet /app/signet
COPY services/__init__.py services/cli.py services/token_cli.py /app/services/
COPY services/standalone /app/services/standalone
COPY services/evaluator /app/services/evaluator
ENV PATH=/opt/signet/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 GRPC_VERBOSITY=ERROR \
    SIGNET_HOST=0.0.0.0 SIGNET_PORT=50053 SIGNET_METRICS_PORT=9103
WORKDIR /app
USER 10001
EXPOSE 50053 9103
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --start-interval=1s --retries=3 \
    CMD ["python", "-m", "signet.rpc.health", "http://127.0.0.1:9103/healthz"]
ENTRYPOINT ["python", "-m", "services.evaluator"]
ARG VERSION=0.1.0
ARG REVISION=unknown
ENV SIGNET_COMMIT=$REVISION
LABEL org.opencontainers.image.title="signet-evaluator" \
      org.opencontainers.image.description="Signet's evaluator: predictions and accuracy reports" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.base.name="python:3.11-slim-bookworm"

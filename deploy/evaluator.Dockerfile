# Published checkpoints to predictions and reports: onnxruntime, neither torch nor MediaPipe.
FROM python:3.11-slim-bookworm AS build
RUN python -m venv /opt/signet
ENV PATH=/opt/signet/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
# What changes seldom first: the dependencies are installed for a package that is still empty.
COPY pyproject.toml requirements.lock README.md LICENSE ./
RUN mkdir signet services && touch signet/__init__.py services/__init__.py
RUN --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    pip install --constraint requirements.lock '.[evaluator]'

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="signet-evaluator" \
      org.opencontainers.image.description="Signet's evaluator: predictions and accuracy reports" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 10001 --no-create-home signet
COPY --from=build /opt/signet /opt/signet
COPY signet /app/signet
COPY services/__init__.py /app/services/__init__.py
COPY services/evaluator /app/services/evaluator
ENV PATH=/opt/signet/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    SIGNET_HOST=0.0.0.0 SIGNET_PORT=50053 SIGNET_METRICS_PORT=9103
WORKDIR /app
USER signet
EXPOSE 50053 9103
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-m", "signet.health", "127.0.0.1:50053"]
ENTRYPOINT ["python", "-m", "services.evaluator"]

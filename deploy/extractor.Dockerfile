# Video to landmark tensors: MediaPipe and PyAV, no torch.
FROM python:3.11-slim-bookworm AS build
RUN python -m venv /opt/signet
ENV PATH=/opt/signet/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
# What changes seldom first: the dependencies are installed for a package that is still empty.
COPY pyproject.toml requirements.lock README.md LICENSE ./
RUN mkdir signet services && touch signet/__init__.py services/__init__.py
RUN --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    pip install --constraint requirements.lock '.[extractor]'

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="signet-extractor" \
      org.opencontainers.image.description="Signet's extractor: sign-language video to landmark tensors" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --no-create-home signet
COPY --from=build /opt/signet /opt/signet
COPY signet /app/signet
COPY services/__init__.py /app/services/__init__.py
COPY services/extractor /app/services/extractor
ENV PATH=/opt/signet/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    SIGNET_HOST=0.0.0.0 SIGNET_PORT=50051 SIGNET_METRICS_PORT=9101 SIGNET_WLASL=/data/wlasl \
    MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /app
USER signet
EXPOSE 50051 9101
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-m", "signet.health", "127.0.0.1:50051"]
ENTRYPOINT ["python", "-m", "services.extractor"]

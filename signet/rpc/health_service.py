"""The gRPC health service of a server: that of grpc_health, and it says which names there are."""

from typing import Any

from grpc_health.v1 import health, health_pb2

from signet.errors import NotFound, quote

# The names of models can be many.
_MAX_LISTED = 10


class HealthServicer(health.aio.HealthServicer):  # type: ignore[misc]
    """grpc.health.v1.Health. A check of a name that does not exist gets NOT_FOUND with a message."""

    def __init__(self) -> None:
        super().__init__()
        self._names = {""}

    async def set(self, service: str, status: Any) -> None:
        """Set the status of a service."""
        self._names.add(service)
        await super().set(service, status)

    async def Check(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> health_pb2.HealthCheckResponse:
        """The status of a service.

        Raises:
            NotFound: there is no such service.
        """
        if request.service not in self._names:
            known = ", ".join(sorted(self._names - {""})[:_MAX_LISTED])
            raise NotFound(
                f"health of {quote(request.service)}: there is no such service. Known services are {known}; "
                "an empty name means the whole server."
            )
        return await super().Check(request, context)
